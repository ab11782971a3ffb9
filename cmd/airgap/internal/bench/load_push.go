//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// pushRepo is where all is pushed to.
const pushRepo = "pushed/app"

// pushes are what clients push: blobs or manifests, no two alike.
type pushes struct {
	prefix    string // before the repository's name
	manifests bool
	bodies    []pushed // as many as there are requests
	config    pushed   // of all manifests
}

// pushed is something to push. Its bytes are head and then tail, which others share.
type pushed struct {
	head, tail []byte
	digest     digest.Digest
}

func newPushed(head, tail []byte) pushed {
	hash := digest.SHA256.Digester()
	hash.Hash().Write(head)
	hash.Hash().Write(tail)
	return pushed{head, tail, hash.Digest()}
}

func (p pushed) size() int64 { return int64(len(p.head) + len(p.tail)) }
func (p pushed) reader() io.Reader {
	return io.MultiReader(bytes.NewReader(p.head), bytes.NewReader(p.tail))
}

// pushBlobs are n blobs that differ in their first bytes.
func pushBlobs(n int, tail []byte) *pushes {
	p := &pushes{}
	for i := range n {
		p.bodies = append(p.bodies, newPushed(fmt.Appendf(nil, "%08d", i), tail))
	}
	return p
}

// pushManifests are n manifests of images with the same config.
func pushManifests(n int) *pushes {
	p := &pushes{manifests: true, config: newPushed([]byte("{}"), nil)}
	for i := range n {
		p.bodies = append(p.bodies, newPushed(fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[],"annotations":{"n":"%d"}}`,
			layout.MediaTypeManifest, layout.MediaTypeImageConfig, p.config.digest, i), nil))
	}
	return p
}

// at says what p pushes to a registry whose repositories have a prefix.
func (p *pushes) at(prefix string) *pushes {
	out := *p
	out.prefix = prefix
	return &out
}

func (p *pushes) path(rest string) string { return "/v2/" + p.prefix + pushRepo + "/" + rest }

func (p *pushes) one(c *client, i int) (int64, error) {
	b := p.bodies[i]
	if !p.manifests {
		return b.size(), p.blob(c, b)
	}
	res, err := c.send(http.MethodPut, p.path(fmt.Sprintf("manifests/v%d", i)), "Content-Type: "+layout.MediaTypeManifest+"\r\n", b.reader(), b.size(), http.StatusCreated)
	if err == nil {
		_, err = c.copy(io.Discard, res.Body)
	}
	return b.size(), err
}

// blob is how most clients push one: they ask where to, and put it there.
func (p *pushes) blob(c *client, b pushed) error {
	res, err := c.send(http.MethodPost, p.path("blobs/uploads/"), "", nil, 0, http.StatusAccepted)
	if err != nil {
		return err
	}
	if _, err := c.copy(io.Discard, res.Body); err != nil {
		return err
	}
	at, err := url.Parse(res.Header.Get("Location"))
	if err != nil {
		return err
	}
	q := at.Query()
	q.Set("digest", b.digest.String())
	at.RawQuery = q.Encode()
	res, err = c.send(http.MethodPut, at.RequestURI(), "Content-Type: application/octet-stream\r\n", b.reader(), b.size(), http.StatusCreated)
	if err == nil {
		_, err = c.copy(io.Discard, res.Body)
	}
	return err
}

// prepare pushes what all manifests need.
func (p *pushes) prepare(c *client) error {
	if !p.manifests {
		return nil
	}
	return p.blob(c, p.config)
}

// kept is all of it, to see whether it is there.
func (p *pushes) kept() []target {
	var out []target
	for _, b := range p.bodies {
		kind := "blobs/"
		if p.manifests {
			kind = "manifests/"
		}
		out = append(out, target{p.path(kind + b.digest.String()), b.digest})
	}
	return out
}
