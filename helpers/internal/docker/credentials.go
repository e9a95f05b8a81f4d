package docker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/docker/docker/api/types/registry"

	"service-manager/helpers/internal/hint"
)

// hubKey is the name under which "docker login" stores the credentials for Docker Hub.
const hubKey = "https://index.docker.io/v1/"

// Credentials returns what "docker login" stored for an image's registry, in the form
// that Pull takes; empty when there is nothing. It reads $DOCKER_CONFIG/config.json, or
// .docker/config.json in the user's home folder, and runs the credential helper that is
// named there. It sets $HOME if that is unset, as it is for system services: helpers keep
// files of their own there.
func Credentials(named reference.Named) (string, error) {
	if os.Getenv("HOME") == "" {
		u, err := user.LookupId(strconv.Itoa(os.Getuid()))
		if err != nil {
			return "", fmt.Errorf("find the home folder that holds the registry credentials: %w", err)
		}
		os.Setenv("HOME", u.HomeDir)
	}
	folder := os.Getenv("DOCKER_CONFIG")
	if folder == "" {
		folder = filepath.Join(os.Getenv("HOME"), ".docker")
	}
	domain := reference.Domain(named)
	found, err := credentials(filepath.Join(folder, config.ConfigFileName), domain)
	if err != nil {
		return "", fmt.Errorf("read the credentials for the registry %s: %w", domain, err)
	}
	server := found.ServerAddress
	found.ServerAddress = ""
	if found == (types.AuthConfig{}) {
		return "", nil
	}
	return registry.EncodeAuthConfig(registry.AuthConfig{
		Username: found.Username, Password: found.Password, ServerAddress: server,
		IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	})
}

// credentials returns what the file at path, or the helper that it names, has for a
// registry.
func credentials(path, domain string) (types.AuthConfig, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return types.AuthConfig{}, nil
	}
	if err != nil {
		return types.AuthConfig{}, err
	}
	defer file.Close()
	c, err := config.LoadFromReader(file)
	if err != nil {
		return types.AuthConfig{}, hint.Add(fmt.Errorf("%s: %w", path, err), "run docker login again")
	}
	key := domain
	if domain == "docker.io" {
		key = hubKey
	}
	return c.GetAuthConfig(key)
}
