package registry

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"airgap/layout"
)

// FuzzReferrers: whatever a page holds, its entries are valid and no digest
// comes twice, and adding to an index that was read gives one that can be read.
func FuzzReferrers(f *testing.F) {
	f.Add(indexOf())
	f.Add(indexOf(some(3)...))
	f.Add([]byte(`{"schemaVersion":2,"manifests":null}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:x"}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[],"manifests":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var l list
		if l.read(data) != nil {
			return
		}
		seen := map[string]bool{}
		for _, d := range l.entries {
			if err := layout.CheckDescriptor(d); err != nil || seen[string(d.Digest)] || d.URLs != nil || d.Data != nil {
				t.Errorf("%+v: %v", d, err)
			}
			seen[string(d.Digest)] = true
		}
		more := some(2)
		merged, err := addEntries(data, more)
		if err != nil {
			return
		}
		var again list
		if err := again.read(merged); err != nil || len(without(append(more, l.entries...), again.entries)) > 0 {
			t.Errorf("%s merged to %s: %v", data, merged, err)
		}
	})
}

// FuzzLink: a Link header leads to this registry or nowhere.
func FuzzLink(f *testing.F) {
	for _, s := range []string{`</v2/x?n=1>; rel="next"`, `<http://evil.example/v2/x>; rel=next`, `<//evil.example/v2/>;rel=next`, `<?a=<b>>; rel=next, <`, `<\\evil>; rel=next`} {
		f.Add(s)
	}
	e := &endpoint{host: "reg.example", path: "team/app"}
	base, _ := http.NewRequest(http.MethodGet, "https://reg.example/v2/team/app/referrers/sha256:x", nil)
	e.base = base.URL
	f.Fuzz(func(t *testing.T, header string) {
		resp := &http.Response{Header: http.Header{"Link": {header}}, Request: base}
		u, err := target{endpoint: e}.next(resp, base.URL)
		if err == nil && u != nil && (u.Scheme != "https" || strings.TrimSuffix(u.Host, ":443") != "reg.example" && !strings.EqualFold(u.Hostname(), "reg.example") || u.User != nil) {
			t.Errorf("%q leads to %s", header, u)
		}
	})
}

// FuzzScrub: no secret survives in a message, and nothing that moves a cursor.
func FuzzScrub(f *testing.F) {
	f.Add("you sent ", " to https://x.example/?sig=1")
	f.Add("\x1b[31m", "\u202e")
	c := &Client{keys: &keychain{secrets: []string{password}}}
	f.Fuzz(func(t *testing.T, before, after string) {
		out := c.scrub(before+password+after, nil)
		if strings.Contains(out, password) || strings.ContainsAny(out, "\x1b\n\r\u202e") {
			t.Errorf("%q", out)
		}
		if _, err := json.Marshal(out); err != nil {
			t.Error(err)
		}
	})
}
