package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
)

// The network campaign: one blob, one registry that misbehaves. Either the very
// bytes arrive or a clear error does, and nothing sleeps.

// scenario is a way to misbehave. serve answers the request number n (from 0)
// for a blob.
type scenario struct {
	name  string
	serve func(n int, w http.ResponseWriter, r *http.Request, data []byte, rng *rand.Rand)
	want  error // nil: the bytes arrive
	asked int   // at most so many requests
}

// part answers a range as it should be, and breaks off after k bytes.
func part(w http.ResponseWriter, r *http.Request, data []byte, k int) {
	from := 0
	if s := r.Header.Get("Range"); s != "" {
		_, _ = fmt.Sscanf(s, "bytes=%d-", &from)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	rest := data[from:]
	if k < len(rest) {
		_, _ = w.Write(rest[:k])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(rest)
}

func status(code int, header ...string) func(int, http.ResponseWriter, *http.Request, []byte, *rand.Rand) {
	return func(n int, w http.ResponseWriter, r *http.Request, data []byte, rng *rand.Rand) {
		if n < 3 {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			return
		}
		part(w, r, data, len(data))
	}
}

// wrongRange breaks off once and answers the rest with this Content-Range.
func wrongRange(format string) func(int, http.ResponseWriter, *http.Request, []byte, *rand.Rand) {
	return func(n int, w http.ResponseWriter, r *http.Request, data []byte, rng *rand.Rand) {
		if n == 0 {
			part(w, r, data, len(data)/2)
		}
		var from int
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Range", strings.NewReplacer("FROM", fmt.Sprint(from), "LAST", fmt.Sprint(len(data)-1),
			"OFF", fmt.Sprint(from+1), "SIZE", fmt.Sprint(len(data))).Replace(format))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[from:])
	}
}

// afterHalf breaks off in the middle, then does this.
func afterHalf(then func(w http.ResponseWriter, r *http.Request, data []byte)) func(int, http.ResponseWriter, *http.Request, []byte, *rand.Rand) {
	return func(n int, w http.ResponseWriter, r *http.Request, data []byte, rng *rand.Rand) {
		if n == 0 {
			part(w, r, data, len(data)/2)
		}
		then(w, r, data)
	}
}

// refusingRanges breaks off in the middle, and then gives the whole alone.
func refusingRanges(status int) func(int, http.ResponseWriter, *http.Request, []byte, *rand.Rand) {
	return afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) {
		if r.Header.Get("Range") != "" {
			w.WriteHeader(status)
			return
		}
		part(w, r, data, len(data))
	})
}

var scenarios = []scenario{
	{"well behaved", func(_ int, w http.ResponseWriter, r *http.Request, data []byte, _ *rand.Rand) {
		part(w, r, data, len(data))
	}, nil, 1},
	{"429, no date", status(429), nil, 4},
	{"429, seconds", status(429, "Retry-After", "7"), nil, 4},
	{"429, far too many seconds", status(429, "Retry-After", "99999999999999999999"), nil, 4},
	{"429, negative", status(429, "Retry-After", "-1"), nil, 4},
	{"429, nonsense", status(429, "Retry-After", "soon"), nil, 4},
	{"503, date to come", status(503, "Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)), nil, 4},
	{"503, date past", status(503, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), nil, 4},
	{"408", status(408), nil, 4}, {"500", status(500), nil, 4}, {"502", status(502), nil, 4}, {"504", status(504), nil, 4},
	{"503 for ever", func(_ int, w http.ResponseWriter, _ *http.Request, _ []byte, _ *rand.Rand) { w.WriteHeader(503) }, ErrRegistry, 6},
	{"429 for ever", func(_ int, w http.ResponseWriter, _ *http.Request, _ []byte, _ *rand.Rand) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(429)
	}, ErrRegistry, 6},
	{"403", status(403), ErrRegistry, 1},
	{"401", status(401), ErrRegistry, 1},
	{"404", status(404), layout.ErrNotFound, 2}, // it may be kept as a manifest
	{"connection refused thrice", func(n int, w http.ResponseWriter, r *http.Request, data []byte, _ *rand.Rand) {
		if n < 3 {
			panic(http.ErrAbortHandler)
		}
		part(w, r, data, len(data))
	}, nil, 8}, // net/http itself repeats on a kept connection
	{"always gone before the headers", func(int, http.ResponseWriter, *http.Request, []byte, *rand.Rand) {
		panic(http.ErrAbortHandler)
	}, ErrRegistry, 12},
	{"half-open after k bytes, each time", func(_ int, w http.ResponseWriter, r *http.Request, data []byte, rng *rand.Rand) {
		part(w, r, data, 1+rng.IntN(len(data)/3))
	}, nil, 1000},
	{"no byte after the middle", afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) { part(w, r, data, 0) }), ErrRegistry, 7},
	{"ends early and says so", func(_ int, w http.ResponseWriter, r *http.Request, data []byte, _ *rand.Rand) {
		w.(http.Flusher).Flush() // chunked: no length
		_, _ = w.Write(data[:len(data)/2])
	}, ErrRegistry, 7},
	{"range answered 200", afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) { _, _ = w.Write(data) }), nil, 2},
	{"range answered 200, chunked", afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(data)
	}), nil, 2},
	{"range answered 200, other length", afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) {
		r.Header.Del("Range")
		part(w, r, data[1:], len(data))
	}), layout.ErrCorrupt, 2},
	{"range answered 200, other content", afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), len(data)))
	}), layout.ErrCorrupt, 2},
	{"range answered with other content", afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) {
		part(w, r, bytes.Repeat([]byte("x"), len(data)), len(data))
	}), layout.ErrCorrupt, 2},
	{"a short range at a time", func(n int, w http.ResponseWriter, r *http.Request, data []byte, rng *rand.Rand) {
		if n == 0 {
			part(w, r, data, 1+rng.IntN(100))
		}
		var from int
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		to := min(from+1+rng.IntN(len(data)/3), len(data))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", from, to-1))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[from:to])
	}, nil, 1000},
	{"Content-Range from elsewhere", wrongRange("bytes OFF-LAST/SIZE"), layout.ErrCorrupt, 3},
	{"Content-Range of another size", wrongRange("bytes FROM-LAST/1"), layout.ErrCorrupt, 3},
	{"Content-Range past the end", wrongRange("bytes FROM-SIZE/SIZE"), layout.ErrCorrupt, 3},
	{"Content-Range backwards", wrongRange("bytes FROM-0/SIZE"), layout.ErrCorrupt, 3},
	{"Content-Range in other units", wrongRange("lines FROM-LAST/SIZE"), layout.ErrCorrupt, 3},
	{"Content-Range of nonsense", wrongRange("bytes"), layout.ErrCorrupt, 3},
	{"no Content-Range", wrongRange(""), layout.ErrCorrupt, 3},
	{"every range answered 416", afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) { w.WriteHeader(416) }), layout.ErrCorrupt, 3},
	{"ranges refused, 416", refusingRanges(416), nil, 3}, {"ranges refused, 400", refusingRanges(400), nil, 3},
	{"ranges refused, 405", refusingRanges(405), nil, 3}, {"ranges refused, 501", refusingRanges(501), nil, 3},
	{"ranges answered with nonsense", refusingRanges(206), nil, 3},
	{"one byte on each connection", func(_ int, w http.ResponseWriter, r *http.Request, data []byte, _ *rand.Rand) { part(w, r, data, 1) }, ErrRegistry, maxTries(1 << 18)},
	{"range answered 404", afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) { w.WriteHeader(404) }), layout.ErrNotFound, 2},
	{"range answered 503 once", func(n int, w http.ResponseWriter, r *http.Request, data []byte, _ *rand.Rand) {
		switch n {
		case 0:
			part(w, r, data, len(data)/2)
		case 1:
			w.WriteHeader(503)
		default:
			part(w, r, data, len(data))
		}
	}, nil, 3},
	{"part that nobody asked for", func(_ int, w http.ResponseWriter, _ *http.Request, data []byte, _ *rand.Rand) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(data)-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data)
	}, layout.ErrCorrupt, 1},
	{"204", func(_ int, w http.ResponseWriter, _ *http.Request, _ []byte, _ *rand.Rand) { w.WriteHeader(204) }, layout.ErrCorrupt, 1},
	{"changed content", func(_ int, w http.ResponseWriter, _ *http.Request, data []byte, rng *rand.Rand) {
		data = bytes.Clone(data)
		data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
		_, _ = w.Write(data)
	}, layout.ErrCorrupt, 1},
	{"one byte short", func(_ int, w http.ResponseWriter, r *http.Request, data []byte, _ *rand.Rand) {
		part(w, r, data[1:], len(data))
	}, layout.ErrCorrupt, 1},
	{"one byte long", func(_ int, w http.ResponseWriter, _ *http.Request, data []byte, _ *rand.Rand) {
		_, _ = w.Write(append(bytes.Clone(data), 0))
	}, layout.ErrCorrupt, 1},
	{"one byte long, chunked", func(_ int, w http.ResponseWriter, _ *http.Request, data []byte, _ *rand.Rand) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(append(bytes.Clone(data), 0))
	}, layout.ErrCorrupt, 1},
	{"gzip", func(_ int, w http.ResponseWriter, r *http.Request, data []byte, _ *rand.Rand) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(data)
	}, layout.ErrCorrupt, 1},
	{"gzip on the rest", afterHalf(func(w http.ResponseWriter, r *http.Request, data []byte) {
		w.Header().Set("Content-Encoding", "gzip")
		part(w, r, data, len(data))
	}), layout.ErrCorrupt, 3},
	{"another digest in the header", func(_ int, w http.ResponseWriter, _ *http.Request, data []byte, _ *rand.Rand) {
		w.Header().Set(digestHeader, string(digest.FromString("other")))
		_, _ = w.Write(data)
	}, layout.ErrCorrupt, 1},
	{"redirect", func(n int, w http.ResponseWriter, r *http.Request, data []byte, _ *rand.Rand) {
		if r.Host != "cdn.example" {
			http.Redirect(w, r, "http://cdn.example"+r.URL.Path+"?sig=1", http.StatusTemporaryRedirect)
			return
		}
		part(w, r, data, len(data))
	}, nil, 2},
	{"redirect, signature expiring in the middle", func(n int, w http.ResponseWriter, r *http.Request, data []byte, _ *rand.Rand) {
		switch {
		case r.Host != "cdn.example":
			http.Redirect(w, r, fmt.Sprintf("http://cdn.example%s?sig=%d", r.URL.Path, n), http.StatusTemporaryRedirect)
		case r.URL.Query().Get("sig") == "0":
			part(w, r, data, len(data)/2)
		default:
			part(w, r, data, len(data))
		}
	}, nil, 4},
	{"redirect loop", func(_ int, w http.ResponseWriter, r *http.Request, _ []byte, _ *rand.Rand) {
		http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
	}, ErrRegistry, maxRedirects},
	{"redirect to nowhere", func(_ int, w http.ResponseWriter, r *http.Request, _ []byte, _ *rand.Rand) {
		w.Header().Set("Location", "::nowhere::")
		w.WriteHeader(http.StatusFound)
	}, ErrRegistry, 1},
}

func TestCampaign(t *testing.T) {
	seeds := 3
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				runScenario(t, s, uint64(seed))
			}
		})
	}
}

func runScenario(t *testing.T, s scenario, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, 1000+rng.IntN(1<<18))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	d := layout.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(len(data))}
	var n atomic.Int32
	c := clientFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if enc := r.Header.Get("Accept-Encoding"); enc != "identity" {
			t.Errorf("Accept-Encoding: %q", enc)
		}
		s.serve(int(n.Add(1))-1, w, r, data, rng)
	}))
	got, err := readAll(t, c, d)
	if s.want == nil {
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("seed %d: %d of %d bytes, %v", seed, len(got), len(data), err)
		}
	} else {
		var le *layout.Error
		if !errors.Is(err, s.want) || !errors.Is(err, ErrRegistry) || !errors.As(err, &le) || le.Digest != d.Digest {
			t.Errorf("seed %d: %v, want %v", seed, err, s.want)
		}
	}
	if int(n.Load()) > s.asked {
		t.Errorf("seed %d: %d requests, want at most %d", seed, n.Load(), s.asked)
	}
}

// TestRetryAfter: the pause asked for is passed on, capped, in both forms.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "60": time.Minute, "61": time.Minute, "-5": 0, "soon": 0, "1.5": 0,
		"18446744073709551616":          time.Minute,
		"9223372036854775807":           time.Minute,
		"Thu, 01 Jan 2026 12:00:30 GMT": 30 * time.Second,
		"Thu, 01 Jan 2026 11:00:00 GMT": 0,
		"Thu, 01 Jan 2099 11:00:00 GMT": time.Minute,
	} {
		resp := &http.Response{Header: http.Header{"Retry-After": {value}}}
		if got := retryAfter(resp, now); got != want {
			t.Errorf("Retry-After %q = %v, want %v", value, got, want)
		}
	}
}

// TestWaits: what Wait is asked, for a registry that wants 7 seconds.
func TestWaits(t *testing.T) {
	type ask struct {
		attempt int
		asked   time.Duration
	}
	var asked []ask
	c := clientFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(503)
	}), func(o *Options) {
		o.Retries = 2
		o.Wait = func(n int, d time.Duration) time.Duration { asked = append(asked, ask{n, d}); return 0 }
	})
	_, err := c.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1"})
	if err == nil || !slices.Equal(asked, []ask{{0, 7 * time.Second}, {1, 7 * time.Second}}) {
		t.Errorf("%v, %v", asked, err)
	}
	for attempt := range 100 {
		if d := defaultWait(attempt, 0); d <= 0 || d > 2*maxWait {
			t.Errorf("defaultWait(%d, 0) = %v", attempt, d)
		}
		if d := defaultWait(attempt, time.Minute); d < time.Minute || d > 2*time.Minute {
			t.Errorf("defaultWait(%d, 1m) = %v", attempt, d)
		}
	}
}

// TestCancelledWait: a pause ends with the context, however long it is.
func TestCancelledWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := clientFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }),
		func(o *Options) {
			o.Wait = func(int, time.Duration) time.Duration { cancel(); return time.Hour }
		})
	if _, err := c.Resolve(ctx, layout.Reference{Repository: repo, Tag: "v1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Resolve = %v", err)
	}
}

// TestTokenExpires: a token that runs out in the middle of a blob is renewed.
func TestTokenExpires(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1000)
	d := layout.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(len(data))}
	var tokens, valid atomic.Int32
	c := clientFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			valid.Store(tokens.Add(1))
			fmt.Fprintf(w, `{"token":"token-%d"}`, tokens.Load())
			return
		}
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer token-%d", valid.Load()) || valid.Load() == 0 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://reg.example/token",service="reg"`)
			w.WriteHeader(401)
			return
		}
		if r.Header.Get("Range") == "" || valid.Load() < 3 {
			valid.Store(-1)
			part(w, r, data, 1000)
		}
		part(w, r, data, len(data))
	}))
	got, err := readAll(t, c, d)
	if err != nil || !bytes.Equal(got, data) || tokens.Load() != 3 {
		t.Errorf("%d bytes, %d tokens, %v", len(got), tokens.Load(), err)
	}
}
