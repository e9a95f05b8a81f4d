package docker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/registry"
)

// hubKey is the name under which "docker login" keeps what is for Docker Hub.
const hubKey = "https://index.docker.io/v1/"

// config is the part of the docker CLI's config.json that holds credentials.
type config struct {
	Auths       map[string]auth   `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

type auth struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Credentials returns what "docker login" has kept for an image's registry, in
// the form that Pull takes; empty when there is nothing. env is how to look up
// environment variables. It reads $DOCKER_CONFIG/config.json, or
// .docker/config.json in the user's home folder, and runs the credential helper
// that is named there.
func Credentials(ctx context.Context, env func(string) (string, bool), named reference.Named) (string, error) {
	home, err := homeFolder(env)
	if err != nil {
		return "", err
	}
	folder, _ := env("DOCKER_CONFIG")
	if folder == "" {
		folder = filepath.Join(home, ".docker")
	}
	path := filepath.Join(folder, "config.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the registry credentials: %w", err)
	}
	conf, err := parseConfig(data)
	if err != nil {
		return "", fmt.Errorf("read the registry credentials: %s: %w", path, err)
	}
	domain := reference.Domain(named)
	found, err := conf.lookup(domain)
	if err != nil {
		return "", fmt.Errorf("read the registry credentials: %s: %w", path, err)
	}
	if helper, key := conf.helper(domain); helper != "" {
		fromHelper, ok, err := askHelper(ctx, helper, key, home)
		if err != nil {
			return "", fmt.Errorf("registry credentials for %s: %w", domain, err)
		}
		if ok {
			found = fromHelper
		}
	}
	if found == (registry.AuthConfig{}) {
		return "", nil
	}
	return registry.EncodeAuthConfig(found)
}

// homeFolder returns $HOME, and the user's home folder by the user database
// where that is not set, as it is for system services.
func homeFolder(env func(string) (string, bool)) (string, error) {
	if home, _ := env("HOME"); home != "" {
		return home, nil
	}
	u, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		return "", fmt.Errorf("find the home folder that holds the registry credentials: %w", err)
	}
	return u.HomeDir, nil
}

func parseConfig(data []byte) (config, error) {
	var c config
	if len(bytes.TrimSpace(data)) == 0 {
		return c, nil
	}
	err := json.Unmarshal(data, &c)
	return c, err
}

// helper returns the credential helper for a registry, and the name that the
// helper knows the registry by.
func (c config) helper(domain string) (helper, key string) {
	key = domain
	if domain == "docker.io" {
		key = hubKey
	}
	if helper, ok := c.CredHelpers[key]; ok {
		return helper, key
	}
	return c.CredsStore, key
}

// lookup returns what the file itself says for a registry, nothing when it says
// nothing.
func (c config) lookup(domain string) (registry.AuthConfig, error) {
	key := domain
	if domain == "docker.io" {
		key = hubKey
	}
	entry, ok := c.Auths[key]
	if !ok {
		// Older versions of docker kept addresses.
		for name, e := range c.Auths {
			if registryHost(name) == domain || domain == "docker.io" && registryHost(name) == "index.docker.io" {
				key, entry, ok = name, e, true
				break
			}
		}
	}
	if !ok {
		return registry.AuthConfig{}, nil
	}
	found := registry.AuthConfig{
		Username: entry.Username, Password: entry.Password,
		IdentityToken: entry.IdentityToken, RegistryToken: entry.RegistryToken,
	}
	if entry.Auth != "" {
		text, err := base64.StdEncoding.DecodeString(entry.Auth)
		name, password, ok := strings.Cut(string(text), ":")
		if err != nil || !ok || name == "" {
			return registry.AuthConfig{}, fmt.Errorf("auths: %s: auth is not the base64 form of user:password; run \"docker login\" again", key)
		}
		found.Username, found.Password = name, strings.Trim(password, "\x00")
	}
	if found != (registry.AuthConfig{}) {
		found.ServerAddress = key
	}
	return found, nil
}

// registryHost returns the host of an address like https://host/v1/.
func registryHost(address string) string {
	host := strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	return host
}

// askHelper gets credentials from docker-credential-NAME. ok is false when it has
// none for that registry.
func askHelper(ctx context.Context, name, key, home string) (found registry.AuthConfig, ok bool, err error) {
	program := "docker-credential-" + name
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Stdin = strings.NewReader(key)
	// Helpers keep their own files in the home folder.
	cmd.Env = append(os.Environ(), "HOME="+home)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		// The protocol has no other sign for "none".
		if strings.Contains(out.String(), "credentials not found") {
			return found, false, nil
		}
		said := strings.Join(strings.Fields(out.String()+" "+problem.String()), " ")
		if said != "" {
			return found, false, fmt.Errorf("%s get: %w: %s", program, err, said)
		}
		return found, false, fmt.Errorf("%s get: %w", program, err)
	}
	found, err = parseHelper(out.Bytes(), key)
	if err != nil {
		return found, false, fmt.Errorf("%s get: %w", program, err)
	}
	return found, true, nil
}

// parseHelper reads a credential helper's answer.
func parseHelper(out []byte, key string) (registry.AuthConfig, error) {
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return registry.AuthConfig{}, fmt.Errorf("its answer cannot be read: %w", err)
	}
	found := registry.AuthConfig{Username: answer.Username, Password: answer.Secret, ServerAddress: key}
	if answer.Username == "<token>" {
		found = registry.AuthConfig{IdentityToken: answer.Secret, ServerAddress: key}
	}
	return found, nil
}
