package vm

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

// testImages are the Docker images of the base machine, which has no network to
// pull any from:
//
//	app:1 … app:4      tests/app, all the same, told apart by APP_REVISION
//	client:1           tests/load, for a client in another container
//	nginx:1 … nginx:4  Debian's nginx, all the same, told apart by REVISION
//
// tests/load is in the machine too, as /usr/local/bin/load.
type testImages struct {
	key         string // of everything below
	app, client string // static executables
	nginx       string // tar of a root file system
}

func (i *Image) testImages(ctx context.Context) (testImages, error) {
	var t testImages
	nginx, err := i.part(ctx, "nginx", "")
	if err != nil {
		return t, err
	}
	t.nginx = nginx.file("rootfs.tar")
	keys := []string{filepath.Base(nginx.path), loadScript}
	for _, program := range []struct {
		name string
		path *string
	}{{"app", &t.app}, {"load", &t.client}} {
		key, path, err := i.goProgram(ctx, program.name)
		if err != nil {
			return t, err
		}
		*program.path = path
		keys = append(keys, key)
	}
	t.key = hash(keys...)
	return t, nil
}

// goProgram builds the package tests/NAME of this repository as a static
// executable, and returns its hash and path.
func (i *Image) goProgram(ctx context.Context, name string) (key, path string, err error) {
	tool, err := goTool()
	if err != nil {
		return "", "", err
	}
	module, err := exec.CommandContext(ctx, tool, "env", "GOMOD").Output()
	root := filepath.Dir(strings.TrimSpace(string(module)))
	if err != nil || root == "/dev" || root == "." {
		return "", "", fmt.Errorf("build tests/%s: not inside the repository", name)
	}
	dir, err := os.MkdirTemp(i.cache, ".go-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	built := filepath.Join(dir, name)
	build := exec.CommandContext(ctx, tool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", built, "./tests/"+name)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("build tests/%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	if key, err = hashFile(built); err != nil {
		return "", "", err
	}
	e, err := openEntry(ctx, i.log, i.cache, name, key, func(dir string) error {
		return os.Rename(built, filepath.Join(dir, name))
	})
	if err != nil {
		return "", "", err
	}
	return key, e.file(name), nil
}

// goTool returns the path of the go command, also where it is not in PATH.
func goTool() (string, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		path = "/usr/local/go/bin/go"
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("go is neither in PATH nor %s", path)
		}
	}
	return path, nil
}

// loadScript imports the files that importInto puts into /root/images.
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

// importInto imports the images into the guest's Docker.
func (t testImages) importInto(ctx context.Context, g *Guest) error {
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
