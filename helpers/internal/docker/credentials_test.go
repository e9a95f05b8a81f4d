package docker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/registry"
)

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
			wantErr: `.docker/config.json: illegal base64 data at input byte 0; run docker login again`},
		{name: "not JSON", config: `{"auths"`, image: "r.example/a", wantErr: "config.json: unexpected EOF"},
		{name: "helper", config: `{"credHelpers":{"r.example":"test"}}`, image: "r.example/a",
			want: registry.AuthConfig{Username: "HOME", Password: "r.example", ServerAddress: "r.example"}},
		{name: "store for Docker Hub", config: `{"credsStore":"test"}`, image: "nginx",
			want: registry.AuthConfig{Username: "HOME", Password: hubKey, ServerAddress: hubKey}},
		{name: "helper before store", config: `{"credsStore":"missing","credHelpers":{"r.example":"test"}}`, image: "r.example/a",
			want: registry.AuthConfig{Username: "HOME", Password: "r.example", ServerAddress: "r.example"}},
		{name: "helper with a token", config: `{"credsStore":"test"}`, image: "token.example/a",
			want: registry.AuthConfig{IdentityToken: "t", ServerAddress: "token.example"}},
		{name: "helper that has none", config: `{"credsStore":"test"}`, image: "none.example/a"},
		{name: "helper that fails", config: `{"credsStore":"test"}`, image: "broken.example/a",
			wantErr: "read the credentials for the registry broken.example: error getting credentials - err: exit status 1"},
		{name: "helper that is not installed", config: `{"credsStore":"missing"}`, image: "r.example/a",
			wantErr: `exec: "docker-credential-missing": executable file not found in $PATH`},
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
		t.Setenv("HOME", home)
		got, err := Credentials(named)
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
	t.Setenv("HOME", "")
	t.Setenv("DOCKER_CONFIG", folder)
	auth, err := Credentials(named)
	if err != nil || auth == "" {
		t.Errorf("with DOCKER_CONFIG and without HOME: %q, %v; want credentials", auth, err)
	}
}
