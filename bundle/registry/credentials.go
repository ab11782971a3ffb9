package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// keychain finds the credential for a repository: the one given in Options, or
// what docker and podman have, their credential helpers included.
type keychain struct {
	given    auth.Credential
	givenFor string // host; the first that is asked unless named
	named    bool

	files []keyfile

	mu      sync.Mutex
	secrets []string // to be kept out of error texts
}

// keyfile is one file of credentials, in docker's format.
type keyfile struct {
	path   string
	store  credentials.Store
	scoped []string // keys for less than a registry, as podman has them
}

func newKeychain(o Options) (*keychain, error) {
	k := &keychain{}
	if (o.Username == "") != (o.Password == "") {
		return nil, errors.New("registry: a user name and a password go together")
	}
	if o.Username != "" {
		k.given = auth.Credential{Username: o.Username, Password: o.Password}
		k.remember(k.given)
		if o.Registry != "" {
			host, _, err := splitRepo(o.Registry + "/x")
			if err != nil {
				return nil, fmt.Errorf("registry %.300q: %w", o.Registry, err)
			}
			k.givenFor, k.named = host, true
		}
	}
	paths := []string{o.RegistryConfig}
	if o.RegistryConfig == "" {
		paths = defaultConfigs()
	} else if _, err := os.Stat(o.RegistryConfig); err != nil {
		return nil, fmt.Errorf("registry credentials: %w", err)
	}
	for _, p := range paths {
		f, err := openKeyfile(p)
		if err != nil {
			return nil, err
		}
		k.files = append(k.files, f)
	}
	return k, nil
}

// defaultConfigs are the files that docker and podman would read, in order.
func defaultConfigs() []string {
	var all []string
	add := func(dir string, rest ...string) {
		if dir != "" {
			all = append(all, filepath.Join(append([]string{dir}, rest...)...))
		}
	}
	home, _ := os.UserHomeDir()
	add(os.Getenv("REGISTRY_AUTH_FILE"))
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		add(dir, "config.json")
	} else {
		add(home, ".docker", "config.json")
	}
	add(os.Getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		add(dir, "containers", "auth.json")
	} else {
		add(home, ".config", "containers", "auth.json")
	}
	return all
}

func openKeyfile(path string) (keyfile, error) {
	store, err := credentials.NewStore(path, credentials.StoreOptions{})
	if err != nil {
		return keyfile{}, fmt.Errorf("registry credentials: %w", err)
	}
	f := keyfile{path: path, store: store}
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	} else if err != nil {
		return keyfile{}, fmt.Errorf("registry credentials: %w", err)
	}
	var config struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	_ = json.Unmarshal(raw, &config) // NewStore has read it
	for key := range config.Auths {
		if strings.Contains(key, "/") && !strings.Contains(key, "://") {
			f.scoped = append(f.scoped, strings.TrimSuffix(key, "/"))
		}
	}
	return f, nil
}

// key returns the longest scoped key that covers repo, or "" if the registry's
// own credential applies.
func (k *keychain) key(repo, host string) string {
	best := ""
	if k.given.Username != "" && (!k.named || k.givenFor == host) {
		return best
	}
	for _, f := range k.files {
		for _, s := range f.scoped {
			if (repo == s || strings.HasPrefix(repo, s+"/")) && len(s) > len(best) {
				best = s
			}
		}
	}
	return best
}

// errAmbiguous is why a credential was not used.
var errAmbiguous = errors.New("a user name is given, and more than one registry is involved")

// admit refuses a second registry for a credential that is not said to be for
// one of them.
func (k *keychain) admit(host string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.given.Username == "" || k.named:
		return nil
	case k.givenFor == "":
		k.givenFor = host
	case k.givenFor != host:
		return fmt.Errorf("%w: %s and %s", errAmbiguous, k.givenFor, host)
	}
	return nil
}

// credential returns what oras-go asks when the registry at host wants to know
// who is there. It has no answer for any other host.
func (k *keychain) credential(host, key string) auth.CredentialFunc {
	return func(ctx context.Context, hostport string) (auth.Credential, error) {
		if hostport != host {
			return auth.EmptyCredential, nil
		}
		if k.isGivenFor(host) {
			return k.given, nil
		}
		names := []string{key}
		if key == "" {
			names = serverNames(host)
		}
		for _, f := range k.files {
			for _, name := range names {
				cred, err := f.store.Get(ctx, name)
				if err != nil {
					return auth.EmptyCredential, fmt.Errorf("credentials from %s: %w", f.path, err)
				}
				if cred != auth.EmptyCredential {
					k.remember(cred)
					return cred, nil
				}
			}
		}
		return auth.EmptyCredential, nil
	}
}

func (k *keychain) isGivenFor(host string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.given.Username != "" && k.givenFor == host
}

// serverNames are the names under which a host's credential may be kept.
// Docker's own is historical.
func serverNames(host string) []string {
	if host == dockerHost {
		return []string{"https://index.docker.io/v1/", "docker.io", "index.docker.io", dockerHost}
	}
	return []string{host}
}

// remember notes secrets in every spelling in which they go over the wire.
func (k *keychain) remember(c auth.Credential) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range []string{
		c.Password, c.RefreshToken, c.AccessToken,
		base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password)),
	} {
		if len(s) >= 3 { // shorter ones would blot out words
			k.secrets = append(k.secrets, s)
		}
	}
}

func (k *keychain) known() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.secrets...)
}
