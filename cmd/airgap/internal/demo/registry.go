package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
)

// maxContent bounds what is read from a registry at once. The largest blob here
// is a compressed Go program.
const maxContent = 1 << 30

// server is a registry inside this process.
type server struct {
	host string // 127.0.0.1:port
	http *http.Server
}

// startRegistry serves an empty registry on a free loopback port. Without the
// referrers API it answers 404 when asked for attachments, as older registries do.
func startRegistry(referrersAPI bool) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a registry: %w", err)
	}
	quiet := log.New(io.Discard, "", 0)
	s := &server{
		host: l.Addr().String(),
		http: &http.Server{Handler: ggcr.New(ggcr.Logger(quiet), ggcr.WithReferrersSupport(referrersAPI)), ErrorLog: quiet},
	}
	go func() { _ = s.http.Serve(l) }() // ends with stop
	return s, nil
}

// stop closes the port and every connection.
func (s *server) stop() { _ = s.http.Close() }

// repository is one repository of a registry. It speaks plain HTTP by itself and
// shares no code with airgap: what it finds is not what airgap says it wrote.
type repository struct {
	host, name string
}

func (r repository) String() string { return r.host + "/" + r.name }

// statusError is an answer that was not the one wanted.
type statusError struct {
	what string // method and URL
	code int
	body string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: the registry answered %d %s: %s", e.what, e.code, http.StatusText(e.code), e.body)
}

// do sends a request about part of the repository and returns the answer's body
// and media type.
func (r repository) do(ctx context.Context, method, part, mediaType string, body []byte, want int) ([]byte, string, error) {
	url := "http://" + r.host + "/v2/" + r.name + "/" + part
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxContent))
	if err != nil {
		return nil, "", fmt.Errorf("%s %s: %w", method, url, err)
	}
	if resp.StatusCode != want {
		return nil, "", &statusError{method + " " + url, resp.StatusCode, string(bytes.TrimSpace(data))}
	}
	return data, resp.Header.Get("Content-Type"), nil
}

// blob fetches a blob by digest, unchecked.
func (r repository) blob(ctx context.Context, d digest.Digest) ([]byte, error) {
	data, _, err := r.do(ctx, http.MethodGet, "blobs/"+d.String(), "", nil, http.StatusOK)
	return data, err
}

// manifest fetches a manifest by tag or digest, unchecked, with its media type.
func (r repository) manifest(ctx context.Context, ref string) ([]byte, string, error) {
	return r.do(ctx, http.MethodGet, "manifests/"+ref, "", nil, http.StatusOK)
}

// tags lists the tags.
func (r repository) tags(ctx context.Context) ([]string, error) {
	data, _, err := r.do(ctx, http.MethodGet, "tags/list", "", nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var list struct{ Tags []string }
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("tags of %s: %w", r, err)
	}
	return list.Tags, nil
}

// putBlob uploads a blob in one request.
func (r repository) putBlob(ctx context.Context, data []byte) error {
	part := "blobs/uploads/?digest=" + digest.FromBytes(data).String()
	_, _, err := r.do(ctx, http.MethodPost, part, "application/octet-stream", data, http.StatusCreated)
	return err
}

// putManifest stores a manifest under a tag or its digest.
func (r repository) putManifest(ctx context.Context, ref, mediaType string, data []byte) error {
	_, _, err := r.do(ctx, http.MethodPut, "manifests/"+ref, mediaType, data, http.StatusCreated)
	return err
}
