package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
)

var imageBytes = []byte(`{"schemaVersion":2,"mediaType":"` + layout.MediaTypeManifest + `","config":{}}`)

var imageDesc = layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromBytes(imageBytes), Size: int64(len(imageBytes))}

// some returns n descriptors of manifests.
func some(n int) []layout.Descriptor {
	var out []layout.Descriptor
	for i := range n {
		out = append(out, layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 1})
	}
	return out
}

// place answers questions about attachments by what they ask for: "referrers",
// "tag", ".sig", ".att", ".sbom".
type place map[string]http.HandlerFunc

func (p place) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := "tag"
	if strings.Contains(r.URL.Path, "/referrers/") {
		kind = "referrers"
	} else if i := strings.LastIndex(r.URL.Path, "."); i > strings.LastIndex(r.URL.Path, "/") {
		kind = r.URL.Path[i:]
	}
	if h := p[kind]; h != nil {
		h(w, r)
		return
	}
	fail(w, 404, "MANIFEST_UNKNOWN")
}

func saying(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fail(w, status, code) }
}

func index(n int) http.HandlerFunc { return giving(layout.MediaTypeIndex, indexOf(some(n)...), nil) }

// TestAnswers: what each kind of answer to each question is taken for.
func TestAnswers(t *testing.T) {
	image := giving(layout.MediaTypeManifest, imageBytes, nil)
	other := giving(layout.MediaTypeManifest, append(imageBytes, '\n'), nil)
	docker, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": layout.MediaTypeDockerList, "manifests": some(2)})
	tests := []struct {
		name   string
		place  place
		form   layout.Form
		answer layout.Answer // "" for an error
		found  int
		note   bool
	}{
		{"API finds", place{"referrers": index(3)}, layout.FormReferrers, layout.AnswerFound, 3, false},
		{"API empty", place{"referrers": index(0)}, layout.FormReferrers, layout.AnswerNone, 0, false},
		{"API missing", place{"referrers": saying(404, "")}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API missing, 404 page", place{"referrers": http.NotFound}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API not allowed", place{"referrers": saying(405, "")}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API not implemented", place{"referrers": saying(501, "")}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API unsupported", place{"referrers": saying(400, "UNSUPPORTED")}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API is a web page", place{"referrers": giving("text/html; charset=utf-8", []byte("<html>"), nil)}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API refuses", place{"referrers": saying(403, "DENIED")}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API wants a login", place{"referrers": saying(401, "UNAUTHORIZED")}, layout.FormReferrers, "", 0, false},
		{"API says nothing", place{"referrers": saying(204, "")}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API says nothing, 200", place{"referrers": giving("application/json", nil, nil)}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API gives an empty object", place{"referrers": giving("application/json", []byte("{}"), nil)}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API gives text", place{"referrers": giving("text/plain", []byte("it works!"), nil)}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API gives half an index", place{"referrers": giving("application/json", []byte(`{"schemaVersion":2,"manifests":[`), nil)}, layout.FormReferrers, "", 0, false},
		{"API as a teapot", place{"referrers": saying(418, "")}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API refuses as unsupported", place{"referrers": saying(401, "UNSUPPORTED")}, layout.FormReferrers, "", 0, false},
		{"API bad request", place{"referrers": saying(400, "")}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API down", place{"referrers": saying(500, "")}, layout.FormReferrers, "", 0, false},
		{"API rate limit", place{"referrers": saying(429, "TOOMANYREQUESTS")}, layout.FormReferrers, "", 0, false},
		{"API hangs up", place{"referrers": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}, layout.FormReferrers, "", 0, false},
		{"API gives a manifest", place{"referrers": image}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API gives other JSON", place{"referrers": giving("application/json", []byte(`{"hello":1}`), nil)}, layout.FormReferrers, layout.AnswerUnsupported, 0, true},
		{"API gives null", place{"referrers": giving(layout.MediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":null}`), nil)}, layout.FormReferrers, layout.AnswerNone, 0, false},
		{"API gives no list", place{"referrers": giving(layout.MediaTypeIndex, []byte(`{"schemaVersion":2}`), nil)}, layout.FormReferrers, "", 0, false},
		{"API gives a strange list", place{"referrers": giving(layout.MediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":{}}`), nil)}, layout.FormReferrers, "", 0, false},
		{"API gives nothing", place{"referrers": giving(layout.MediaTypeIndex, nil, nil)}, layout.FormReferrers, "", 0, false},
		{"API is ambiguous", place{"referrers": giving(layout.MediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":[],"manifests":[]}`), nil)}, layout.FormReferrers, "", 0, false},
		{"API gives bad digests", place{"referrers": giving(layout.MediaTypeIndex, indexOf(layout.Descriptor{Digest: "sha256:../x"}), nil)}, layout.FormReferrers, "", 0, false},
		{"API gives too many", place{"referrers": index(layout.MaxAttached + 1)}, layout.FormReferrers, "", 0, false},
		{"API repeats itself", place{"referrers": giving(layout.MediaTypeIndex, indexOf(append(some(2), some(2)...)...), nil)}, layout.FormReferrers, layout.AnswerFound, 2, false},
		{"API links in a loop", place{"referrers": giving(layout.MediaTypeIndex, indexOf(), func(h http.Header) { h.Set("Link", `<?n=1>; rel="next"`) })}, layout.FormReferrers, "", 0, false},
		{"API links for ever", place{"referrers": endless()}, layout.FormReferrers, "", 0, false},
		{"API links elsewhere", place{"referrers": giving(layout.MediaTypeIndex, indexOf(), func(h http.Header) { h.Set("Link", `<http://evil.example/v2/x>; rel=next`) })}, layout.FormReferrers, "", 0, false},
		{"API links to another port", place{"referrers": giving(layout.MediaTypeIndex, indexOf(), func(h http.Header) { h.Set("Link", `<http://reg.example:81/v2/x>; rel=next`) })}, layout.FormReferrers, "", 0, false},
		{"API links to what is missing", place{"referrers": secondPage(saying(404, ""))}, layout.FormReferrers, "", 0, false},
		{"API links to a web page", place{"referrers": secondPage(giving("text/html", nil, nil))}, layout.FormReferrers, "", 0, false},
		{"API links to more", place{"referrers": secondPage(index(3))}, layout.FormReferrers, layout.AnswerFound, 3, false},

		{"tag finds", place{"tag": index(2)}, layout.FormReferrersTag, layout.AnswerFound, 2, false},
		{"tag empty", place{"tag": index(0)}, layout.FormReferrersTag, layout.AnswerNone, 0, false},
		{"tag missing", place{}, layout.FormReferrersTag, layout.AnswerNone, 0, false},
		{"tag is the subject (GitLab)", place{"tag": image}, layout.FormReferrersTag, layout.AnswerNone, 0, true},
		{"tag is an image", place{"tag": other}, layout.FormReferrersTag, layout.AnswerNone, 0, true},
		{"tag is a docker list", place{"tag": giving(layout.MediaTypeDockerList, docker, nil)}, layout.FormReferrersTag, layout.AnswerFound, 2, false},
		{"tag refused", place{"tag": saying(401, "UNAUTHORIZED")}, layout.FormReferrersTag, "", 0, false},
		{"tag down", place{"tag": saying(503, "")}, layout.FormReferrersTag, "", 0, false},
		{"tag damaged", place{"tag": giving(layout.MediaTypeIndex, []byte(`{"schemaVersion":2}`), nil)}, layout.FormReferrersTag, "", 0, false},

		{"sig finds", place{".sig": other}, layout.FormCosignSig, layout.AnswerFound, 1, false},
		{"att finds", place{".att": other}, layout.FormCosignAtt, layout.AnswerFound, 1, false},
		{"sbom finds", place{".sbom": other}, layout.FormCosignSBOM, layout.AnswerFound, 1, false},
		{"sig is the subject", place{".sig": image}, layout.FormCosignSig, layout.AnswerNone, 0, true},
		{"sig unknown name", place{".sig": saying(400, "NAME_UNKNOWN")}, layout.FormCosignSig, layout.AnswerNone, 0, false},
		{"sig refused", place{".sig": saying(403, "MANIFEST_UNKNOWN")}, layout.FormCosignSig, "", 0, false},
		{"att down", place{".att": saying(504, "")}, layout.FormCosignAtt, "", 0, false},
		{"sbom damaged", place{".sbom": giving(layout.MediaTypeManifest, []byte("x"), nil)}, layout.FormCosignSBOM, "", 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all, err := clientFor(t, test.place).Attached(t.Context(), repo, imageDesc)
			if test.answer == "" {
				var le *layout.Error
				if !errors.Is(err, ErrRegistry) || !errors.As(err, &le) || !strings.HasPrefix(le.Name, repo) {
					t.Fatalf("%v, %v, want an error that names the repository", all, err)
				}
				return
			}
			if err != nil || len(all) != 5 {
				t.Fatalf("%v, %v", all, err)
			}
			for _, in := range all {
				want := layout.AnswerNone
				if in.Form == test.form {
					want = test.answer
				} else if in.Form == layout.FormReferrers {
					want = layout.AnswerUnsupported
				}
				if in.Answer != want {
					t.Errorf("%s answers %s, want %s", in.Form, in.Answer, want)
				}
				if in.Form == test.form && (len(in.Found) != test.found || test.note != (in.Note != "")) {
					t.Errorf("%d found, note %q", len(in.Found), in.Note)
				}
			}
		})
	}
}

// A repository that has the referrers API cannot say of one manifest that it has
// not: what is attached there would be lost unseen. That it does not know the
// manifest is another matter.
func TestReferrersAPIVanishes(t *testing.T) {
	for code, refused := range map[string]bool{"": true, "UNSUPPORTED": true, "MANIFEST_UNKNOWN": false, "NAME_UNKNOWN": false} {
		var asked atomic.Int32
		c := clientFor(t, place{"referrers": func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) == 1 {
				index(1)(w, r)
				return
			}
			fail(w, 404, code)
		}})
		if _, err := c.Attached(t.Context(), repo, imageDesc); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err := c.Attached(t.Context(), repo, some(1)[0])
			if refused != errors.Is(err, ErrRegistry) || !refused && err != nil {
				t.Errorf("%q: %v", code, err)
			}
		}
	}
}

// endless always has one more page.
func endless() http.HandlerFunc {
	var n atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", fmt.Sprintf(`</v2/x?page=%d>; rel="prev", <%s?page=%d>; title="a, b"; rel="next"`, n.Load(), r.URL.Path, n.Add(1)))
		giving(layout.MediaTypeIndex, indexOf(), nil)(w, r)
	}
}

// secondPage has an empty first page and this for its second.
func secondPage(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			w.Header().Set("Link", fmt.Sprintf(`<http://reg.example:80%s?last=a,b>; rel="next"`, r.URL.Path))
			giving(layout.MediaTypeIndex, indexOf(), nil)(w, r)
			return
		}
		h(w, r)
	}
}

// TestLoops: pages that lead back are noticed at once.
func TestLoops(t *testing.T) {
	for _, link := range []string{"?", "?n=1", "/v2/team/app/referrers/" + string(imageDesc.Digest)} {
		var asked atomic.Int32
		c := clientFor(t, place{"referrers": func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			giving(layout.MediaTypeIndex, indexOf(), func(h http.Header) { h.Set("Link", "<"+link+`>; rel="next"`) })(w, r)
		}})
		if _, err := c.Attached(t.Context(), repo, imageDesc); !errors.Is(err, layout.ErrLimit) || asked.Load() > 2 {
			t.Errorf("Link %s: %v after %d requests", link, err, asked.Load())
		}
	}
}

// TestUnfiltered: the referrers API is asked for everything.
func TestUnfiltered(t *testing.T) {
	c := clientFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			t.Errorf("asked with %q", r.URL.RawQuery)
		}
		fail(w, 404, "MANIFEST_UNKNOWN")
	}))
	if _, err := c.Attached(t.Context(), repo, imageDesc); err != nil {
		t.Error(err)
	}
}

// TestSupportRemembered: a repository without the API is asked once, one that
// only does not know the subject is asked again for the next.
func TestSupportRemembered(t *testing.T) {
	for code, want := range map[string]int32{"": 1, "UNSUPPORTED": 1, "MANIFEST_UNKNOWN": 20, "NAME_UNKNOWN": 20} {
		var asked atomic.Int32
		c := clientFor(t, place{"referrers": func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			fail(w, 404, code)
		}})
		done := make(chan error)
		for _, d := range some(20) {
			go func() {
				_, err := c.Attached(t.Context(), repo, d)
				done <- err
			}()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if asked.Load() != want {
			t.Errorf("404 %s: asked %d times, want %d", code, asked.Load(), want)
		}
	}
}

// TestHide: a registry that hides what is attached at one place gives it at
// another; the union finds it.
func TestHide(t *testing.T) {
	for _, at := range []string{"referrers", "tag"} {
		c := clientFor(t, place{"referrers": index(0), "tag": index(0), at: index(2)})
		all, err := c.Attached(t.Context(), repo, imageDesc)
		found := 0
		for _, in := range all {
			found += len(in.Found)
		}
		if err != nil || found != 2 {
			t.Errorf("at %s: %d found, %v", at, found, err)
		}
	}
}

// TestReferrersDoubt: a repository in which something answers for the referrers API
// that is none goes by the tags, and says what was answered, subject by subject. One
// that answers for some manifests and not for others is an error, whichever comes
// first.
func TestReferrersDoubt(t *testing.T) {
	odd := saying(403, "DENIED")
	for _, test := range []struct {
		answers []http.HandlerFunc
		bad     bool
	}{
		{[]http.HandlerFunc{odd, odd, odd}, false},
		{[]http.HandlerFunc{index(1), odd}, true},
		{[]http.HandlerFunc{odd, index(1)}, true},
		{[]http.HandlerFunc{odd, saying(404, "")}, false},
		{[]http.HandlerFunc{odd, saying(404, "MANIFEST_UNKNOWN"), index(0)}, true},
	} {
		var asked atomic.Int32
		c := clientFor(t, place{"tag": index(2), "referrers": func(w http.ResponseWriter, r *http.Request) {
			test.answers[asked.Add(1)-1](w, r)
		}})
		var err error
		for i, d := range some(len(test.answers)) {
			var all layout.Attachments
			if all, err = c.Attached(t.Context(), repo, d); err != nil {
				break
			}
			if all[1].Answer != layout.AnswerFound || i == 0 && !test.bad && !strings.Contains(all[0].Doubt, "403") {
				t.Errorf("%v", all)
			}
		}
		if test.bad && (!errors.Is(err, ErrRegistry) || !strings.Contains(layout.Hint(err), "--no-referrers-api")) || !test.bad && err != nil {
			t.Errorf("%d answers: %v, hint %q", len(test.answers), err, layout.Hint(err))
		}
		if !test.bad && int(asked.Load()) != len(test.answers) {
			t.Errorf("asked %d times about %d", asked.Load(), len(test.answers))
		}
	}
}

// TestNoReferrersAPI: it is not asked, and that is a doubt of its own.
func TestNoReferrersAPI(t *testing.T) {
	c := clientFor(t, place{"tag": index(2), "referrers": func(http.ResponseWriter, *http.Request) { t.Error("asked") }},
		func(o *Options) { o.NoReferrersAPI = true })
	all, err := c.Attached(t.Context(), repo, imageDesc)
	if err != nil || all[0].Answer != layout.AnswerUnsupported || all[0].Doubt != notAsked || len(all[1].Found) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}
