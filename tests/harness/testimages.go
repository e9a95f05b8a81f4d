package harness

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// TestImages are the Docker images of every machine, which has no network to
// pull any from:
//
//	app:1 … app:4      tests/app, all the same, told apart by APP_REVISION
//	client:1           tests/load, for a client in another container
//	nginx:1 … nginx:4  Debian's nginx, all the same, told apart by REVISION
//
// tests/load is in the machine too, as /usr/local/bin/load.
type TestImages struct {
	Key         string // of everything below
	app, client string // static executables
	nginx       string // tar of a root file system
}

// TestImages makes what is not in the cache.
func (c Cache) TestImages(ctx context.Context) (TestImages, error) {
	var t TestImages
	nginx, err := c.Part(ctx, "nginx", "")
	if err != nil {
		return t, err
	}
	t.nginx = nginx.File("rootfs.tar")
	keys := []string{filepath.Base(nginx.Path), loadScript}
	for _, program := range []struct {
		name string
		path *string
	}{{"app", &t.app}, {"load", &t.client}} {
		key, path, err := c.goProgram(ctx, program.name)
		if err != nil {
			return t, err
		}
		*program.path = path
		keys = append(keys, key)
	}
	t.Key = Hash(keys...)
	return t, nil
}

// goProgram builds the package tests/NAME of this repository as a static
// executable, and returns its hash and path.
func (c Cache) goProgram(ctx context.Context, name string) (key, path string, err error) {
	tool, err := GoTool()
	if err != nil {
		return "", "", err
	}
	module, err := exec.CommandContext(ctx, tool, "env", "GOMOD").Output()
	root := filepath.Dir(strings.TrimSpace(string(module)))
	if err != nil || root == "/dev" || root == "." {
		return "", "", fmt.Errorf("build tests/%s: not inside the repository", name)
	}
	dir, err := os.MkdirTemp(c.Dir, ".go-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	built := filepath.Join(dir, name)
	if err := goBuild(ctx, tool, root, "./tests/"+name, built); err != nil {
		return "", "", fmt.Errorf("build tests/%s: %w", name, err)
	}
	if key, err = HashFile(built); err != nil {
		return "", "", err
	}
	e, err := OpenEntry(ctx, c.Log, c.Dir, name, key, func(dir string) error {
		return os.Rename(built, filepath.Join(dir, name))
	})
	if err != nil {
		return "", "", err
	}
	return key, e.File(name), nil
}

// goBuild builds a package of the module in a folder as a static executable.
func goBuild(ctx context.Context, tool, module, pkg, to string) error {
	build := exec.CommandContext(ctx, tool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", to, pkg)
	build.Dir = module
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// GoTool returns the path of the go command, also where it is not in PATH.
func GoTool() (string, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		path = "/usr/local/go/bin/go"
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("go is neither in PATH nor %s", path)
		}
	}
	return path, nil
}

// loadScript imports the files that ImportInto puts into /root/images.
const loadScript = `set -e
cd /root/images
docker import -c 'ENTRYPOINT ["/app"]' app.tar app:1
docker import -c 'ENTRYPOINT ["/load"]' load.tar client:1
docker import nginx.tar nginx:import
# docker import cannot set a stop signal.
DOCKER_BUILDKIT=0 docker build -q -t nginx:1 - <<'X'
FROM nginx:import
ENTRYPOINT ["/docker-entrypoint"]
STOPSIGNAL SIGQUIT
EXPOSE 80
X
docker rmi nginx:import
for n in 2 3 4; do docker tag app:1 app:$n; docker tag nginx:1 nginx:$n; done
cd /
rm -r /root/images
# A first container costs Docker and the kernel several seconds of setting up.
docker run --rm --network bridge client:1 -h >/dev/null`

// A Machine is one that images can be imported into.
type Machine interface {
	// Put copies a local file or folder, with what is in it.
	Put(ctx context.Context, local, path string) error
	// PutFile writes a file, and the folders that it needs.
	PutFile(ctx context.Context, path string, content []byte, mode uint32) error
	// Output runs a script, and returns its standard output.
	Output(ctx context.Context, script string) (string, error)
}

// ImportInto imports the images into the machine's Docker.
func (t TestImages) ImportInto(ctx context.Context, g Machine) error {
	if err := g.Put(ctx, t.client, "/usr/local/bin/load"); err != nil {
		return err
	}
	for _, path := range []string{t.app, t.client} {
		archive, err := tarOf(path)
		if err != nil {
			return err
		}
		if err := g.PutFile(ctx, "/root/images/"+filepath.Base(path)+".tar", archive, 0o600); err != nil {
			return err
		}
	}
	if err := g.Put(ctx, t.nginx, "/root/images/nginx.tar"); err != nil {
		return err
	}
	_, err := g.Output(ctx, loadScript)
	return err
}

// tarOf returns an archive of one executable in the root folder.
func tarOf(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	w.WriteHeader(&tar.Header{Name: filepath.Base(path), Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg})
	w.Write(content)
	return out.Bytes(), w.Close()
}
