package registry

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
)

func TestSplitChallenges(t *testing.T) {
	for line, want := range map[string][]string{
		``:                                    nil,
		`Negotiate`:                           {`Negotiate`},
		`Negotiate, Basic realm="r"`:          {`Negotiate`, `Basic realm="r"`},
		`Basic realm="a, b", charset="UTF-8"`: {`Basic realm="a, b", charset="UTF-8"`},
		`Basic realm = "a" , Negotiate abc==, Bearer realm="https://x/t?a=b",service="s"`: {`Basic realm = "a"`, `Negotiate abc==`, `Bearer realm="https://x/t?a=b", service="s"`},
		`, ,Basic realm="a\", Negotiate"`:                                                 {`Basic realm="a\", Negotiate"`},
		`Digest qop="auth", nonce="=,"`:                                                   {`Digest qop="auth", nonce="=,"`},
	} {
		if got := splitChallenges(line); !slices.Equal(got, want) {
			t.Errorf("%s\n got %q\nwant %q", line, got, want)
		}
	}
}

// TestChallengeChosen: of several challenges, in one header line or in several,
// the one that can be answered is.
func TestChallengeChosen(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("u:secret"))
	bearer := `Bearer realm="http://reg.example/token",service="reg"`
	for _, test := range []struct {
		headers []string
		want    string // Authorization
	}{
		{[]string{`Negotiate`, `Basic realm="r"`}, basic},
		{[]string{`Basic realm="r"`, `Negotiate`}, basic},
		{[]string{`Negotiate, Basic realm="r"`}, basic},
		{[]string{`Negotiate, NTLM`, `Digest realm="a, Basic x", nonce="n"`, `Basic realm="r"`}, basic},
		{[]string{`Negotiate, ` + bearer}, "Bearer of-the-token-service"},
		{[]string{`Basic realm="r"`, bearer}, "Bearer of-the-token-service"},
		{[]string{`Basic realm="r", ` + bearer + `, Negotiate`}, "Bearer of-the-token-service"},
		{[]string{`Bearer realm="file:///etc/passwd", Basic realm="r"`}, basic},
		{[]string{`Bearer`, `Basic realm="r"`}, basic},
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token":
				_, _ = w.Write([]byte(`{"token":"of-the-token-service"}`))
			case r.Header.Get("Authorization") == test.want:
				giving(layout.MediaTypeManifest, imageBytes, nil)(w, r)
			default:
				for _, c := range test.headers {
					w.Header().Add(challengeHeader, c)
				}
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		c := clientFor(t, h, func(o *Options) { o.Username, o.Password = "u", "secret" })
		if _, err := c.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1"}); err != nil {
			t.Errorf("%q: %v", test.headers, err)
		}
	}
	// One that nobody here can answer stays what it is: a refusal.
	c := clientFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(challengeHeader, "Negotiate")
		w.WriteHeader(http.StatusUnauthorized)
	}), func(o *Options) { o.Username, o.Password = "u", "secret" })
	_, err := c.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1"})
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("Negotiate alone: %v", err)
	}
}

// FuzzChallenges: whatever a server sends, no challenge is invented.
func FuzzChallenges(f *testing.F) {
	f.Add(`Negotiate, Basic realm="r", Bearer realm="https://x"`)
	f.Add(`a="\`)
	f.Fuzz(func(t *testing.T, line string) {
		for _, c := range splitChallenges(line) {
			if scheme, _, _ := strings.Cut(c, " "); !strings.Contains(line, scheme) {
				t.Errorf("%q has no %q", line, scheme)
			}
		}
		keepAnswerable(http.Header{challengeHeader: {line}})
	})
}
