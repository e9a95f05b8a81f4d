package docker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/registry"
)

func lookupEnv(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

func TestCredentials(t *testing.T) {
	bin := t.TempDir()
	// A real helper program: what it is asked for, and $HOME, come back.
	script := "#!/bin/sh\nread server\ncase $server in\n" +
		"none.example) echo 'credentials not found in native keychain'; exit 1;;\n" +
		"broken.example) echo 'the keychain is locked' >&2; exit 1;;\n" +
		"token.example) echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}';;\n" +
		"*) echo \"{\\\"Username\\\":\\\"$HOME\\\",\\\"Secret\\\":\\\"$server\\\"}\";;\nesac\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))

	const alice = `"auth":"YWxpY2U6c2U6Y3JldA=="` // alice:se:cret
	for _, test := range []struct {
		name, config, image string
		want                registry.AuthConfig
		wantErr             string
	}{
		{name: "nothing", config: `{}`, image: "nginx"},
		{name: "empty file", config: "", image: "nginx"},
		{name: "Docker Hub", config: `{"auths":{"https://index.docker.io/v1/":{` + alice + `}}}`, image: "nginx",
			want: registry.AuthConfig{Username: "alice", Password: "se:cret", ServerAddress: hubKey}},
		{name: "another registry", config: `{"auths":{"https://index.docker.io/v1/":{` + alice + `}}}`, image: "r.example/nginx"},
		{name: "with a port", config: `{"auths":{"r.example:5000":{` + alice + `}}}`, image: "r.example:5000/a/b:1",
			want: registry.AuthConfig{Username: "alice", Password: "se:cret", ServerAddress: "r.example:5000"}},
		{name: "an address", config: `{"auths":{"https://r.example/v2/":{` + alice + `}}}`, image: "r.example/a",
			want: registry.AuthConfig{Username: "alice", Password: "se:cret", ServerAddress: "https://r.example/v2/"}},
		{name: "an identity token", config: `{"auths":{"r.example":{"identitytoken":"t"}}}`, image: "r.example/a",
			want: registry.AuthConfig{IdentityToken: "t", ServerAddress: "r.example"}},
		{name: "entry of a credential store", config: `{"auths":{"r.example":{}}}`, image: "r.example/a"},
		{name: "not base64", config: `{"auths":{"r.example":{"auth":"%"}}}`, image: "r.example/a",
			wantErr: `auths: r.example: auth is not the base64 form of user:password; run "docker login" again`},
		{name: "not JSON", config: `{"auths"`, image: "r.example/a", wantErr: "config.json: unexpected end of JSON input"},
		{name: "helper", config: `{"credHelpers":{"r.example":"test"}}`, image: "r.example/a",
			want: registry.AuthConfig{Username: "HOME", Password: "r.example", ServerAddress: "r.example"}},
		{name: "store for Docker Hub", config: `{"credsStore":"test"}`, image: "nginx",
			want: registry.AuthConfig{Username: "HOME", Password: hubKey, ServerAddress: hubKey}},
		{name: "helper before store", config: `{"credsStore":"missing","credHelpers":{"r.example":"test"}}`, image: "r.example/a",
			want: registry.AuthConfig{Username: "HOME", Password: "r.example", ServerAddress: "r.example"}},
		{name: "helper with a token", config: `{"credsStore":"test"}`, image: "token.example/a",
			want: registry.AuthConfig{IdentityToken: "t", ServerAddress: "token.example"}},
		{name: "helper that has none", config: `{"credsStore":"test"}`, image: "none.example/a"},
		{name: "helper that has none, file that has", config: `{"credsStore":"test","auths":{"none.example":{` + alice + `}}}`, image: "none.example/a",
			want: registry.AuthConfig{Username: "alice", Password: "se:cret", ServerAddress: "none.example"}},
		{name: "helper that fails", config: `{"credsStore":"test"}`, image: "broken.example/a",
			wantErr: "registry credentials for broken.example: docker-credential-test get: exit status 1: the keychain is locked"},
		{name: "helper that is not installed", config: `{"credsStore":"missing"}`, image: "r.example/a",
			wantErr: `docker-credential-missing get: exec: "docker-credential-missing": executable file not found in $PATH`},
	} {
		home := t.TempDir()
		if err := os.Mkdir(filepath.Join(home, ".docker"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, ".docker", "config.json"), []byte(test.config), 0o600); err != nil {
			t.Fatal(err)
		}
		_, named, err := ParseImage(test.image)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Credentials(context.Background(), lookupEnv(map[string]string{"HOME": home}), named)
		if test.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantErr) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v; want one line with %q", test.name, err, test.wantErr)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if test.want == (registry.AuthConfig{}) {
			if got != "" {
				t.Errorf("%s: got %s; want nothing", test.name, got)
			}
			continue
		}
		decoded, err := registry.DecodeAuthConfig(got)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if decoded.Username == home {
			decoded.Username = "HOME"
		}
		if *decoded != test.want {
			t.Errorf("%s: got %+v; want %+v", test.name, *decoded, test.want)
		}
	}
}

func TestConfigFolder(t *testing.T) {
	folder := t.TempDir()
	config := `{"auths":{"r.example":{"identitytoken":"t"}}}`
	if err := os.WriteFile(filepath.Join(folder, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	_, named, err := ParseImage("r.example/a")
	if err != nil {
		t.Fatal(err)
	}
	// $HOME is not set for system services; the user database has to do.
	auth, err := Credentials(context.Background(), lookupEnv(map[string]string{"DOCKER_CONFIG": folder}), named)
	if err != nil || auth == "" {
		t.Errorf("with DOCKER_CONFIG and without HOME: %q, %v; want credentials", auth, err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"YWxpY2U6c2U6Y3JldA=="}},"credsStore":"x"}`), "docker.io")
	f.Add([]byte(`{"auths":{"r":{"auth":"Og=="}},"credHelpers":{"r":""}}`), "r")
	f.Fuzz(func(t *testing.T, data []byte, domain string) {
		c, err := parseConfig(data)
		if err != nil {
			return
		}
		found, err := c.lookup(domain)
		if err != nil && found != (registry.AuthConfig{}) {
			t.Errorf("credentials %+v beside the error %v", found, err)
		}
		c.helper(domain)
	})
}

func FuzzHelperAnswer(f *testing.F) {
	f.Add([]byte(`{"ServerURL":"r","Username":"u","Secret":"s"}`))
	f.Add([]byte(`{"Username":"<token>","Secret":"s"}`))
	f.Fuzz(func(t *testing.T, out []byte) {
		found, err := parseHelper(out, "r")
		if err == nil && found.ServerAddress != "r" || err != nil && found != (registry.AuthConfig{}) {
			t.Errorf("parseHelper(%q) = %+v, %v", out, found, err)
		}
	})
}
