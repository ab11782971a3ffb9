package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"airgap/layout"
)

// ErrRegistry matches, with errors.Is, every error whose cause is a registry or
// the way to it. The more precise layout.ErrNotFound, ErrCorrupt, ErrLimit and
// ErrUnsupported match besides, where they apply.
var ErrRegistry = errors.New("registry")

// RequestError is what became of one request.
type RequestError struct {
	Method  string
	URL     string // without user, password and query
	Status  int    // HTTP status; 0 if there was no usable answer
	Code    string // error code of the distribution spec, if the answer had one
	Message string // of the registry, for people; may be empty
	Err     error  // what else is known; may be nil
	// Named are the digests in the answer.
	Named []digest.Digest

	lost  bool          // the connection was
	after time.Duration // the pause that the registry asks for
}

func (e *RequestError) Error() string {
	s := e.Method + " " + e.URL + ": "
	if e.Status != 0 {
		s += fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
		if e.Code != "" {
			s += ", " + e.Code
		}
		if e.Message != "" {
			s += ": " + e.Message
		}
		return s
	}
	return s + e.Err.Error()
}

// Is makes every RequestError match ErrRegistry.
func (e *RequestError) Is(target error) bool { return target == ErrRegistry }

// Unwrap returns Err.
func (e *RequestError) Unwrap() error { return e.Err }

// Lacking says whether the registry refuses a manifest for want of what it lists, and
// returns the digests that it names.
func (e *RequestError) Lacking() ([]digest.Digest, bool) {
	switch e.Code {
	case errcode.ErrorCodeManifestBlobUnknown, errcode.ErrorCodeBlobUnknown:
		return e.Named, e.Method == http.MethodPut
	}
	return nil, false
}

// Temporary says whether the same may succeed at another time.
func (e *RequestError) Temporary() bool { return e.lost || passing(e.Status) }

// target is what a request is about, for errors.
type target struct {
	*endpoint
	client *Client
	side   layout.Side
	name   string // repository or reference, as the user would write it
	digest digest.Digest
}

// fail is an error without a request.
func (t target) fail(err error, hint string) error {
	return &layout.Error{Side: t.side, Name: t.name, Digest: t.digest, Err: err, Hint: hint}
}

// bad is an answer that can not be used.
func (t target) bad(resp *http.Response, format string, args ...any) error {
	return t.fail(&RequestError{
		Method: resp.Request.Method, URL: bareURL(resp.Request.URL), Err: fmt.Errorf(format, args...),
	}, "")
}

// maxErrorBytes is how much of an error answer is read; oras-go's measure.
const maxErrorBytes = 8 << 10

// refused turns an answer with an unwanted status into an error, and closes it.
func (t target) refused(resp *http.Response) error {
	defer resp.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	e := &RequestError{
		Method: resp.Request.Method, URL: bareURL(resp.Request.URL), Status: resp.StatusCode,
		Named: digestsIn(raw), after: retryAfter(resp, time.Now()),
	}
	var body struct{ Errors errcode.Errors }
	if json.Unmarshal(raw, &body) == nil && len(body.Errors) > 0 {
		e.Code = t.client.scrub(body.Errors[0].Code, resp.Request)
		e.Message = t.client.scrub(body.Errors[0].Message, resp.Request)
	}
	if isNotFound(e) {
		e.Err = layout.ErrNotFound
	}
	return t.fail(e, t.hint(e))
}

var digestPattern = regexp.MustCompile(`sha256:[0-9a-f]{64}\b|sha512:[0-9a-f]{128}\b`)

// digestsIn finds the digests in an error answer: what stands in its details, no
// specification says.
func digestsIn(raw []byte) []digest.Digest {
	var out []digest.Digest
	for _, d := range digestPattern.FindAll(raw, -1) {
		out = append(out, digest.Digest(d))
	}
	return out
}

// isNotFound says whether the registry says plainly that there is nothing. 401
// and 403 never are, whatever the code beside them: they hide.
func isNotFound(e *RequestError) bool {
	switch e.Code {
	case errcode.ErrorCodeNameUnknown, errcode.ErrorCodeManifestUnknown, errcode.ErrorCodeBlobUnknown:
		return e.Status >= 400 && e.Status < 500 &&
			e.Status != http.StatusUnauthorized && e.Status != http.StatusForbidden
	}
	return e.Status == http.StatusNotFound
}

// lost turns the error of a request that got no answer into one of ours.
func (t target) lost(req *http.Request, err error) error {
	e := &RequestError{Method: req.Method, URL: bareURL(req.URL)}
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		// The token service refused.
		e.Method, e.URL, e.Status = answer.Method, bareURL(answer.URL), answer.StatusCode
		if len(answer.Errors) > 0 {
			e.Code, e.Message = t.client.scrub(answer.Errors[0].Code, req), t.client.scrub(answer.Errors[0].Message, req)
		}
		hint := t.hint(e)
		if e.Status < 500 && e.Status != http.StatusTooManyRequests {
			hint = t.loginHint()
		}
		return t.fail(e, hint)
	}
	e.Err = t.client.scrubbed(err, req)
	var ue *url.Error
	// What is no *url.Error was found by the auth client, not by the network.
	e.lost = lostConnection(err) && errors.As(err, &ue)
	return t.fail(e, t.hint(e))
}

// broken turns an error within an answer's body into one of ours.
func (t target) broken(resp *http.Response, err error) error {
	return t.lost(resp.Request, &url.Error{Op: resp.Request.Method, Err: err})
}

func (t target) loginHint() string {
	return fmt.Sprintf("log in to %s (docker login, podman login), or give --username and --password-stdin, or --registry-config", t.host)
}

// hint says what the user can do.
func (t target) hint(e *RequestError) string {
	var cert *tls.CertificateVerificationError
	switch {
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return t.loginHint()
	case e.Status == http.StatusTooManyRequests:
		return "the registry limits requests: lower --jobs, log in, or come back later"
	case e.Status != 0:
		return ""
	case errors.Is(e.Err, auth.ErrBasicCredentialNotFound):
		return t.loginHint()
	case errors.Is(e.Err, http.ErrSchemeMismatch):
		return "the registry speaks plain http; if that is meant to be so, use --plain-http"
	case errors.As(e.Err, &cert):
		return "if the registry has a certificate of your own authority, give it with --ca-file"
	case errors.Is(e.Err, errPlain):
		return "the registry leads to an unprotected address; ask its operator for https"
	}
	return ""
}

// bareURL is u without what may be secret: user, password, the query of signed
// URLs, the fragment.
func bareURL(u *url.URL) string {
	if u == nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// scrubError has a cleaned text, and matches what the original matches. It does
// not unwrap: the original's text must not come out by another way.
type scrubError struct {
	text string
	err  error
}

func (e *scrubError) Error() string        { return e.text }
func (e *scrubError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *scrubError) As(target any) bool   { return errors.As(e.err, target) }

func (c *Client) scrubbed(err error, req *http.Request) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // the URL is named by us
	}
	if cause := context.Cause(req.Context()); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return &scrubError{c.scrub(err.Error(), req), err}
}

// maxMessage is how much of a registry's words goes into an error.
const maxMessage = 500

var (
	urlUser  = regexp.MustCompile(`://[^/\s"'@]+@`)
	urlQuery = regexp.MustCompile(`(https?://[^?\s"']*)\?[^\s"']*`)
)

// scrub makes a foreign text fit for an error: no known secret, no query of a
// URL, no control characters, not endless.
func (c *Client) scrub(s string, req *http.Request) string {
	secrets := c.keys.known()
	for ; req != nil; req = previous(req) {
		if _, token, ok := strings.Cut(req.Header.Get("Authorization"), " "); ok && len(token) >= 3 {
			secrets = append(secrets, token)
		}
		secrets = append(secrets, querySecrets(req.URL)...)
	}
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, "…")
	}
	s = urlQuery.ReplaceAllString(urlUser.ReplaceAllString(s, "://"), "$1")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}

// minSecret keeps the small change of a query ("n=100") out of what is blotted.
const minSecret = 8

// querySecrets are the parts of a URL that may be a signature or an upload's
// state, for a server that repeats them in its message.
//
// The query is taken apart by hand: url.Query drops what has a semicolon in it.
func querySecrets(u *url.URL) []string {
	var out []string
	for _, pair := range strings.FieldsFunc(u.RawQuery, func(r rune) bool { return r == '&' || r == ';' }) {
		key, raw, ok := strings.Cut(pair, "=")
		if !ok {
			raw = key
		}
		if len(raw) < minSecret || ok && key == "digest" {
			continue
		}
		out = append(out, raw)
		if v, err := url.QueryUnescape(raw); err == nil && v != raw {
			out = append(out, v, url.QueryEscape(v))
		}
	}
	return out
}

// previous is the request whose redirect led to req.
func previous(req *http.Request) *http.Request {
	if req.Response == nil {
		return nil
	}
	return req.Response.Request
}

// asRegistry makes an error found in a registry's content match ErrRegistry.
func asRegistry(err error) error { return &contentError{err} }

type contentError struct{ err error }

func (e *contentError) Error() string        { return e.err.Error() }
func (e *contentError) Is(target error) bool { return target == ErrRegistry }
func (e *contentError) Unwrap() error        { return e.err }
