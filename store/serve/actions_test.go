package serve

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"airgap/store/serve/access"
)

// wantActions is the whole table: method, kind of path, and the right that it needs.
const wantActions = `
GET _catalog pull
GET base pull
GET blobs pull
GET manifests pull
GET referrers pull
GET tags pull
GET upload push
HEAD _catalog pull
HEAD base pull
HEAD blobs pull
HEAD manifests pull
HEAD referrers pull
HEAD tags pull
HEAD upload push
DELETE blobs delete
DELETE manifests delete
DELETE upload push
PATCH upload push
POST uploads push
PUT manifests push
PUT upload push
`

// Row 22: what each method needs at each kind of path, and that nothing else is done.
func TestActionTable(t *testing.T) {
	names := map[access.Action]string{access.Pull: "pull", access.Push: "push", access.Delete: "delete"}
	kinds := []string{kindBase, kindCatalog, kindManifests, kindBlobs, kindUploads, kindUpload, kindTags, kindReferrers}
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND", ""}
	var got []string
	for _, kind := range kinds {
		for _, method := range methods {
			w := httptest.NewRecorder()
			a, f := action(w, method, kind)
			if f == nil {
				got = append(got, fmt.Sprintf("%s %s %s", method, kind, names[a]))
				continue
			}
			if f.status != http.StatusMethodNotAllowed || !strings.Contains(w.Header().Get("Allow"), strings.Fields(w.Header().Get("Allow") + " ")[0]) {
				t.Errorf("%s of %s: %d, allowed is %q", method, kind, f.status, w.Header().Get("Allow"))
			}
		}
	}
	want := strings.Split(strings.TrimSpace(wantActions), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the table is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(actions) != len(kinds) {
		t.Errorf("%d kinds of paths in the table, want %d", len(actions), len(kinds))
	}
}
