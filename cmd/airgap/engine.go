package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// engine is a container engine of this machine that takes images as a tar: one that
// docker save could have written, and an OCI layout at once.
type engine interface {
	fmt.Stringer
	// load has it take what r holds.
	load(ctx context.Context, r io.Reader) error
	// lists fails unless the engine has the image under its name.
	lists(ctx context.Context, img engineImage) error
}

// engineImage is an image as an engine gets it.
type engineImage struct {
	ref layout.Reference
	ids map[digest.Digest]bool // by which engines may know it
}

// is says whether the image may have an ID, with or without its algorithm.
func (i *engineImage) is(id string) bool {
	return i.ids[digest.Digest(id)] || i.ids[digest.Digest("sha256:"+id)]
}

// another says that an engine has another image under the name.
func (i *engineImage) another(id string) error {
	return fmt.Errorf("it took the images, and %s is another one there: %.200q", i.ref.Name(), id)
}

// none says that an engine has no image under the name.
func (i *engineImage) none() error {
	return fmt.Errorf("it took the images, and has none called %s", i.ref.Name())
}

// engineError is what an engine, or the way to it, failed with.
type engineError struct {
	engine string
	err    error
}

func (e *engineError) Error() string { return e.engine + ": " + e.err.Error() }
func (e *engineError) Unwrap() error { return e.err }

// The limits of what an engine may say.
const (
	maxEngineSays  = 8 << 20
	maxEngineError = 64 << 10
)

// socketEngine is docker, or what speaks as docker does, behind a unix socket.
type socketEngine struct {
	name, path string
	client     *http.Client
}

func newSocketEngine(name, path string) *socketEngine {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &socketEngine{name, path, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

func (e *socketEngine) String() string { return e.name + " at " + e.path }

func (e *socketEngine) fail(err error) error { return &engineError{e.String(), err} }

// ask sends a request. What is wrong with the body that is sent is not the engine's.
func (e *socketEngine) ask(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return nil, e.fail(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-tar")
	}
	res, err := e.client.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, &adviceError{e.fail(op.Err), "is it running, and may you use it? --address names another socket, and -o - writes what \"" + e.name + " load\" reads"}
		}
		return nil, e.fail(err)
	}
	return res, nil
}

func (e *socketEngine) load(ctx context.Context, r io.Reader) error {
	// Whoever writes to r decides when it is closed.
	res, err := e.ask(ctx, http.MethodPost, "/images/load?quiet=1", io.NopCloser(r))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return e.fail(engineSays(res))
	}
	if err := readMessages(io.LimitReader(res.Body, maxEngineSays)); err != nil {
		return e.fail(err)
	}
	return nil
}

// readMessages reads the JSON messages in which the outcome of a load comes: its status
// was sent before.
func readMessages(r io.Reader) error {
	for dec := json.NewDecoder(r); ; {
		var m struct {
			Error       string `json:"error"`
			ErrorDetail struct {
				Message string `json:"message"`
			} `json:"errorDetail"`
		}
		err := dec.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("its answer cannot be read: %w", err)
		case m.Error != "" || m.ErrorDetail.Message != "":
			return errors.New(cmp.Or(m.ErrorDetail.Message, m.Error))
		}
	}
}

// engineSays is why an engine refused.
func engineSays(res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxEngineError)) // what there is of it
	var m struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &m) == nil && m.Message != "" {
		text = []byte(m.Message)
	}
	return fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(text))
}

func (e *socketEngine) lists(ctx context.Context, img engineImage) error {
	res, err := e.ask(ctx, http.MethodGet, "/images/"+img.ref.Name()+"/json", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return e.fail(fmt.Errorf("%w: %w", img.none(), engineSays(res)))
	}
	var got struct {
		ID string `json:"Id"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxEngineSays)).Decode(&got); err != nil {
		return e.fail(fmt.Errorf("its answer cannot be read: %w", err))
	}
	if !img.is(got.ID) {
		return e.fail(img.another(got.ID))
	}
	return nil
}

// programEngine is an engine that is reached by its program, which reads images from
// its standard input.
type programEngine struct {
	program string
	take    []string                   // its arguments to read images
	list    func(name string) []string // and to print the ID that a name has
}

func (e *programEngine) String() string { return e.program + " " + strings.Join(e.take, " ") }

func (e *programEngine) load(ctx context.Context, r io.Reader) error {
	_, err := e.run(ctx, e.take, r)
	return err
}

func (e *programEngine) lists(ctx context.Context, img engineImage) error {
	out, err := e.run(ctx, e.list(img.ref.Name()), strings.NewReader(""))
	if err != nil {
		return err
	}
	ids := slices.DeleteFunc(strings.Fields(out), func(s string) bool {
		_, err := layout.ParseDigest("sha256:" + strings.TrimPrefix(s, "sha256:"))
		return err != nil
	})
	switch {
	case len(ids) == 0:
		return &engineError{e.program, img.none()}
	case !slices.ContainsFunc(ids, img.is):
		return &engineError{e.program, img.another(ids[0])}
	}
	return nil
}

// killWait is how long a program that was told to end may take.
const killWait = 10 * time.Second

// run runs the program, and returns what it printed.
func (e *programEngine) run(ctx context.Context, args []string, r io.Reader) (string, error) {
	cmd := exec.CommandContext(ctx, e.program, args...)
	name := e.program + " " + strings.Join(args, " ")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &capped{&stdout, maxEngineSays}, &capped{&stderr, maxEngineError}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = killWait
	// Not as cmd.Stdin: Wait would wait for r, whose end may never come.
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", &adviceError{&engineError{e.program, err}, "install it, or write what it would read with -o FILE"}
	}
	_, sent := io.Copy(stdin, r)
	_ = stdin.Close() // it may have ended
	if err := cmd.Wait(); err != nil {
		return "", &engineError{name, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))}
	}
	if sent != nil {
		return "", &engineError{name, fmt.Errorf("it ended before it had read all: %w", sent)}
	}
	return stdout.String(), nil
}

// capped keeps the first bytes.
type capped struct {
	w    *bytes.Buffer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.w.Write(p[:n])
	c.left -= n
	return len(p), nil
}

// socketPath reads an address as docker and podman have them.
func socketPath(from, address, program string) (string, error) {
	path := strings.TrimPrefix(address, "unix://")
	if !filepath.IsAbs(path) {
		return "", &adviceError{usagef("%s %q: want a unix socket, as unix:///run/user/1000/docker.sock", from, address),
			"to reach " + program + " in another way, write to it: airgap store load REF -o - | " + program + " load"}
	}
	return path, nil
}

// firstSocket is the first of some paths where there is a socket, or "".
func firstSocket(paths ...string) string {
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.Mode()&os.ModeSocket != 0 {
			return p
		}
	}
	return ""
}

// dockerEngine is docker: the one named, else that of $DOCKER_HOST, else the one that
// runs here.
func (u *ui) dockerEngine(address string) (engine, error) {
	const system = "/var/run/docker.sock"
	from := "--address"
	if address == "" {
		from, address = "$DOCKER_HOST", u.getenv("DOCKER_HOST")
	}
	if address == "" {
		address = cmp.Or(firstSocket(system, filepath.Join(u.getenv("XDG_RUNTIME_DIR"), "docker.sock")), system)
	}
	path, err := socketPath(from, address, "docker")
	if err != nil {
		return nil, err
	}
	return newSocketEngine("docker", path), nil
}

// podmanEngine is podman: behind its socket if it has one, else by its program.
func (u *ui) podmanEngine(address string) (engine, error) {
	from := "--address"
	if address == "" {
		from, address = "$CONTAINER_HOST", u.getenv("CONTAINER_HOST")
	}
	if address == "" {
		address = firstSocket(u.podmanSockets()...)
	}
	if address == "" {
		return &programEngine{"podman", []string{"load", "--quiet"}, func(name string) []string {
			return []string{"image", "inspect", "--format", "{{.Id}}", name}
		}}, nil
	}
	path, err := socketPath(from, address, "podman")
	if err != nil {
		return nil, err
	}
	return newSocketEngine("podman", path), nil
}

// podmanSockets are where podman listens: a user's own images are not those of root.
func (u *ui) podmanSockets() []string {
	if os.Geteuid() == 0 {
		return []string{"/run/podman/podman.sock"}
	}
	if dir := u.getenv("XDG_RUNTIME_DIR"); dir != "" {
		return []string{filepath.Join(dir, "podman", "podman.sock")}
	}
	return nil
}

// containerdEngine is containerd, by ctr: there is no other way in that a tar fits
// through.
func containerdEngine(address, namespace string, platforms []layout.Platform) engine {
	var global []string
	if address != "" {
		global = append(global, "--address", strings.TrimPrefix(address, "unix://"))
	}
	if namespace != "" {
		global = append(global, "--namespace", namespace)
	}
	take := append(slices.Clone(global), "images", "import")
	switch len(platforms) {
	case 0:
	case 1:
		take = append(take, "--platform", layout.FormatPlatform(platforms[0]))
	default:
		take = append(take, "--all-platforms")
	}
	return &programEngine{"ctr", append(take, "-"), func(name string) []string {
		return append(slices.Clone(global), "images", "list", "name=="+name)
	}}
}
