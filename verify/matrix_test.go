package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/verify"
	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"
	"airgap/verify/trust"
	"airgap/verify/verifytest"
)

// The wanted signer of Sigstore's forms.
const (
	identity = "https://git.example/team/app/build.yml@refs/heads/main"
	issuer   = "https://issuer.example"
)

// listURL is where the lists of the signers' authority are said to be.
const listURL = "http://crl.example/ca.crl"

// world is everybody who signs here, and what is pinned of them.
type world struct {
	t                 *testing.T
	ca                *signing.TestCA
	vendor, expired   signing.Chain
	intern, stranger  signing.Chain // under the vendor's authority; under another of the same name
	revocable         signing.Chain
	tsa               *verifytest.TSA
	sigstore, foreign *sigstoretest.Sigstore
	key, other        *ecdsa.PrivateKey
	trust, empty      *trust.Trust
	then              time.Time // when the expired certificate was valid
}

func newWorld(t *testing.T) *world {
	root := verifytest.Root(t, "root")
	ca := verifytest.Below(t, root, "intermediate", signing.TestOptions{})
	then := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
	w := &world{
		t: t, ca: ca, then: then, vendor: verifytest.Issue(t, ca, "vendor", signing.TestOptions{}),
		expired:   verifytest.Issue(t, ca, "vendor", signing.TestOptions{NotBefore: then.Add(-time.Hour), NotAfter: then.Add(time.Hour)}),
		intern:    verifytest.Issue(t, ca, "intern", signing.TestOptions{}),
		stranger:  verifytest.Issue(t, verifytest.Root(t, "root"), "vendor", signing.TestOptions{}),
		revocable: verifytest.Issue(t, ca, "vendor", signing.TestOptions{CRL: listURL}),
		tsa:       verifytest.NewTSA(t, verifytest.Root(t, "tsa root"), "tsa", signing.TestOptions{}),
		sigstore:  must(sigstoretest.New()), foreign: must(sigstoretest.New()),
		key: signing.InsecureKey("key"), other: signing.InsecureKey("other"),
	}
	w.trust = verifytest.Trust(t, verifytest.Pins{
		CA:    map[string]*x509.Certificate{"vendor": root.Certs[0]},
		TSA:   map[string]*x509.Certificate{"clock": w.tsa.Root()},
		Keys:  map[string]crypto.Signer{"release": w.key},
		Roots: map[string][]byte{"": must(w.sigstore.RootJSON())},
	})
	w.empty = verifytest.Trust(t, verifytest.Pins{})
	return w
}

// in is the same world for a part of the test.
func (w *world) in(t *testing.T) *world {
	out := *w
	out.t = t
	return &out
}

// how is the way in which something is signed; the zero value is the good one.
type how struct {
	stranger  bool // by another key, or under another authority
	somebody  bool // under the right authority, but not who is wanted
	expired   bool // its certificate has, by now
	stamped   bool // and a trusted clock says that it was signed before
	late      bool // or after
	runOut    bool // the signature's own expiry has passed
	revocable bool // its certificate points to a revocation list
	wrongType bool // it says something else than is wanted
}

// kind is what a form's signatures rest on.
type kind int

const (
	certificate kind = iota // of an authority, for long
	bareKey
	keyless // a certificate of minutes, for an identity
)

// form is one way to sign. What sign makes is attached by cosign's tag with a
// suffix, or, with none, as a referrer.
type form struct {
	name    string
	kind    kind
	require string
	suffix  string
	sign    func(*world, kind, layout.Descriptor, how) []verifytest.Layer
	other   cell // what comes of a good signature that says something else than is wanted
}

const (
	byVendor = "notary: {stores: [\"ca:vendor\", \"tsa:clock\"], verifyTimestamp: afterCertExpiry,\n" +
		"  identities: [\"x509.subject: C=XX, ST=Test, O=airgap test, CN=vendor\"]}"
	byKey   = "cosign: {key: release}"
	byID    = "cosign: {identity: " + identity + ", issuer: " + issuer + "}"
	scanKey = "attestation: {predicateType: " + scanType + ", signedBy: {key: release}}"
	scanID  = "attestation: {predicateType: " + scanType + ", signedBy: {identity: " + identity + ", issuer: " + issuer + "}}"
)

var forms = []form{
	{"Notary JWS", certificate, byVendor, "", notaryIn(signing.NotaryJWS), refused("payload content type")},
	{"Notary COSE", certificate, byVendor, "", notaryIn(signing.NotaryCOSE), refused("payload content type")},
	{"cosign tag, key", bareKey, byKey, "sig", simpleSigning, undecided(`payload of type "something else"`)},
	{"cosign tag, keyless", keyless, byID, "sig", simpleSigning, undecided(`payload of type "something else"`)},
	{"bundle, key", bareKey, byKey, "", bundleOf(signing.PredicateCosignSign), refused("no signature but an attestation of type " + anotherType)},
	{"bundle, keyless", keyless, byID, "", bundleOf(signing.PredicateCosignSign), refused("no signature but an attestation of type " + anotherType)},
	{"attestation tag, key", bareKey, scanKey, "att", attestationLayer, refused("attestation of type " + anotherType)},
	{"attestation tag, keyless", keyless, scanID, "att", attestationLayer, refused("attestation of type " + anotherType)},
	{"attestation bundle, key", bareKey, scanKey, "", bundleOf(scanType), refused("attestation of type " + anotherType)},
	{"attestation bundle, keyless", keyless, scanID, "", bundleOf(scanType), refused("attestation of type " + anotherType)},
}

func notaryIn(format signing.NotaryFormat) func(*world, kind, layout.Descriptor, how) []verifytest.Layer {
	return func(w *world, _ kind, d layout.Descriptor, h how) []verifytest.Layer {
		chain, o := w.vendor, verifytest.NotaryOptions{Format: format}
		switch {
		case h.stranger:
			chain = w.stranger
		case h.somebody:
			chain = w.intern
		case h.revocable:
			chain = w.revocable
		case h.expired:
			chain, o.SigningTime = w.expired, w.then
		}
		switch {
		case h.stamped:
			o.TSA = w.tsa.At(w.then)
		case h.late:
			o.TSA = w.tsa.At(w.then.Add(2 * time.Hour))
		case h.runOut:
			o.SigningTime, o.Expiry = w.then, w.then.Add(time.Hour)
		}
		if h.wrongType {
			o.PayloadType = "text/plain"
		}
		return verifytest.LayersOf(w.t, verifytest.Notary(w.t, d, chain, o))
	}
}

// by is who signs in Sigstore's forms. keys are for forms by key.
func (w *world) by(k kind, h how) (*sigstoretest.Sigstore, sigstoretest.Signing) {
	s, o := w.sigstore, sigstoretest.Signing{Key: w.key, NoLog: true, NoTimestamp: true}
	if k == bareKey {
		if h.stranger {
			o.Key = w.other
		}
		return s, o
	}
	// A certificate that is valid now, unless it should not be.
	o = sigstoretest.Signing{Identity: identity, Issuer: issuer, At: time.Now().Add(-time.Minute).Truncate(time.Second)}
	if h.stranger {
		s = w.foreign
	}
	if h.somebody {
		o.Identity += "x"
	}
	if h.expired {
		o.At = sigstoretest.Moment
		if late := o.At.Add(sigstoretest.CertificateLife + time.Second); !h.stamped {
			o.LoggedAt, o.StampedAt = late, late
		}
	}
	return s, o
}

func simpleSigning(w *world, k kind, d layout.Descriptor, h how) []verifytest.Layer {
	s, o := w.by(k, h)
	l := must(s.SignLayer(d.Digest, repo, o))
	if h.wrongType {
		payload := strings.Replace(string(l.Data), "cosign container image signature", "something else", 1)
		l = must(s.PayloadLayer([]byte(payload), o))
	}
	return []verifytest.Layer{{MediaType: typeSimple, Data: l.Data, Annotations: l.Annotations}}
}

// statement says something of type typ, or, as it should not, of another.
func statement(d layout.Descriptor, h how, typ string) []byte {
	if h.wrongType {
		typ = anotherType
	}
	return must(sigstoretest.Statement(typ, map[string]any{}, d.Digest))
}

func bundleOf(typ string) func(*world, kind, layout.Descriptor, how) []verifytest.Layer {
	return func(w *world, k kind, d layout.Descriptor, h how) []verifytest.Layer {
		s, o := w.by(k, h)
		return []verifytest.Layer{{MediaType: typeBundle, Data: must(s.StatementBundle(statement(d, h, typ), o))}}
	}
}

func attestationLayer(w *world, k kind, d layout.Descriptor, h how) []verifytest.Layer {
	s, o := w.by(k, h)
	l := must(s.StatementLayer(statement(d, h, scanType), o))
	return []verifytest.Layer{{MediaType: typeDSSE, Data: l.Data, Annotations: l.Annotations}}
}

// anotherType is one that nobody wants.
const anotherType = "https://example.com/another/v1"

// Media types of layers of Sigstore's forms.
const (
	typeBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	typeSimple = "application/vnd.dev.cosign.simplesigning.v1+json"
	typeDSSE   = "application/vnd.dsse.envelope.v1+json"
)

// cell is what has to come of one way to sign in one kind of form: a state, with a
// word of why if it is not passed; or, with no state, why that makes no sense.
type cell struct {
	state verify.State
	why   string
}

func passes() cell              { return cell{state: verify.Passed} }
func refused(why string) cell   { return cell{verify.Refused, why} }
func undecided(why string) cell { return cell{verify.Undecided, why} }
func no(because string) cell    { return cell{why: because} }

// What some cells of the matrix are empty for.
const (
	keyEnds    = "a key has no expiry"
	keyNames   = "a key has no name: whoever holds it is who is wanted"
	keyRevoked = "a key is revoked by taking it out of the trust directory, as in the row where nothing is pinned"
	minutes    = "such a certificate lives for minutes and is never revoked"
	noExpiry   = "these forms have no expiry of their own"
	noList     = "nothing points to a revocation list"
)

// matrix is every way to sign, in the order of the kinds.
var matrix = []struct {
	name    string
	how     how
	around  func(*world, *attached) // changes what is attached
	lists   func(*world) []*x509.RevocationList
	nothing bool // is pinned
	cells   [3]cell
}{
	{name: "good", cells: [3]cell{passes(), passes(), passes()}},
	{name: "nothing attached", around: (*world).none, cells: [3]cell{refused("no Notary signature is attached"), refused("is attached"), refused("is attached")}},
	{name: "junk beside good", around: (*world).junkBeside, cells: [3]cell{passes(), passes(), passes()}},
	{name: "stranger beside good", around: (*world).strangerBeside, cells: [3]cell{passes(), passes(), passes()}},
	{name: "truncated", around: (*world).truncated, cells: [3]cell{refused("unable to parse"), refused("malformed"), refused("malformed")}},
	{name: "wrong key or authority", how: how{stranger: true}, cells: [3]cell{refused("untrusted"), refused("wrong key"), refused("untrusted")}},
	{name: "nothing pinned", nothing: true, cells: [3]cell{undecided("not pinned"), undecided("no key named"), undecided("no root is pinned")}},
	{name: "wrong identity", how: how{somebody: true}, cells: [3]cell{refused("wrong identity"), no(keyNames), refused("wrong identity")}},
	{name: "expired", how: how{expired: true}, cells: [3]cell{refused("certificate not valid"), no(keyEnds), refused("expired")}},
	{name: "expired, stamped before", how: how{expired: true, stamped: true}, cells: [3]cell{passes(), no(keyEnds), passes()}},
	{name: "expired, stamped after", how: how{expired: true, late: true}, cells: [3]cell{refused("certificate not valid"), no(keyEnds), refused("expired")}},
	{name: "signature run out", how: how{runOut: true}, cells: [3]cell{refused("expired"), no(noExpiry), no(noExpiry)}},
	{name: "revoked", how: how{revocable: true}, lists: (*world).revokes, cells: [3]cell{refused("revoked"), no(keyRevoked), no(minutes)}},
	{name: "not revoked", how: how{revocable: true}, lists: (*world).clears, cells: [3]cell{passes(), no(keyRevoked), no(minutes)}},
	{name: "revocation list missing", how: how{revocable: true}, cells: [3]cell{undecided("revocation unknown"), no(noList), no(noList)}},
	{name: "wrong subject", around: (*world).ofAnother, cells: [3]cell{refused("bad signature"), refused("wrong subject"), refused("wrong subject")}},
	{name: "wrong type", how: how{wrongType: true}}, // by form
}

// attached is what one cell attaches to its image.
type attached struct {
	t      *testing.T
	form   form
	image  layout.Descriptor
	layers []verifytest.Layer
}

func (w *world) none(a *attached) { a.layers = nil }

func (w *world) junkBeside(a *attached) {
	good := a.layers[0]
	var junk []verifytest.Layer
	for _, data := range []string{"{}", "[]", "\x00\xff", `{"payload":""}`, string(good.Data[:len(good.Data)/2])} {
		junk = append(junk, verifytest.Layer{MediaType: good.MediaType, Data: []byte(data), Annotations: map[string]string{"dev.cosignproject.cosign/signature": "!"}})
	}
	a.layers = append(junk, a.layers...)
}

func (w *world) strangerBeside(a *attached) {
	a.layers = append(a.form.sign(w, a.form.kind, a.image, how{stranger: true}), a.layers...)
}

func (w *world) truncated(a *attached) {
	l := &a.layers[0]
	l.Data = l.Data[:len(l.Data)/2]
}

func (w *world) ofAnother(a *attached) {
	a.layers = a.form.sign(w, a.form.kind, verifytest.Subject("another image"), how{})
}

func (w *world) revokes() []*x509.RevocationList {
	return []*x509.RevocationList{verifytest.CRL(w.t, w.ca, verifytest.List{Number: 1, Revoked: w.revocable.Certs[:1]})}
}

func (w *world) clears() []*x509.RevocationList {
	return []*x509.RevocationList{verifytest.CRL(w.t, w.ca, verifytest.List{Number: 1})}
}

// TestMatrix: each form, signed and judged in each way, as a user would see it.
// What sigstore-go is made to say of each form, in more ways, is in
// verify/sigstore; here it is what comes of it.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	for _, f := range forms {
		for _, row := range matrix {
			want := row.cells[f.kind]
			if row.how.wrongType {
				want = f.other
			}
			if want.state == "" {
				if want.why == "" {
					t.Errorf("%s, %s: the matrix does not say why this makes no sense", f.name, row.name)
				}
				continue
			}
			t.Run(f.name+"/"+row.name, func(t *testing.T) {
				w := w.in(t)
				r := verifytest.NewRepository(t)
				a := &attached{t: t, form: f, image: r.Image("v1")}
				a.layers = f.sign(w, f.kind, a.image, row.how)
				if row.around != nil {
					row.around(w, a)
				}
				a.to(r)
				j := &verify.Judge{Policy: ruled(t, f.require), Trust: w.trust}
				if row.lists != nil {
					j.CRLs = row.lists(w)
				}
				if row.nothing {
					j.Trust = w.empty
				}
				want.check(t, r.Judge(j, "v1").Verdicts[0])
			})
		}
	}
}

// to attaches: all layers of a tag in its one manifest, else a manifest for each.
func (a *attached) to(r *verifytest.Repository) {
	switch {
	case len(a.layers) == 0:
	case a.form.suffix != "":
		r.Attach(verifytest.FromLayers(a.t, a.image, a.form.suffix, a.layers...))
	default:
		for _, l := range a.layers {
			r.Attach(verifytest.FromLayers(a.t, a.image, "", l))
		}
	}
}

// check holds a verdict against a cell. Only the words of reasons count: those who
// sign choose what else is in a verdict.
func (c cell) check(t *testing.T, v verify.Verdict) {
	t.Helper()
	text := string(must(json.Marshal(v)))
	if v.State != c.state {
		t.Fatalf("%s, want %s: %s", v.State, c.state, text)
	}
	reasons := v.Outcome.Reason
	for _, a := range v.Outcome.Tried {
		reasons += "\n" + a.Reason
	}
	if passed := c.state == verify.Passed; passed != (len(v.Outcome.Evidence) == 1) {
		t.Errorf("%s with evidence %+v", v.State, v.Outcome.Evidence)
	} else if !passed && !strings.Contains(reasons, c.why) {
		t.Errorf("%s because of %q, want %q", v.State, reasons, c.why)
	}
}

// Each of N signatures lets its own image in, and no other: of N images with N
// signatures each, in every arrangement, exactly N pairs pass.
func TestEachForItsOwn(t *testing.T) {
	const n = 4
	w := newWorld(t)
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			w := w.in(t)
			j := &verify.Judge{Policy: ruled(t, f.require), Trust: w.trust}
			passed := 0
			for shift := range n + 1 { // signature i is at image i+shift; at last all are at every one
				r := verifytest.NewRepository(t)
				var tags []string
				images, signatures := make([]layout.Descriptor, n), make([][]verifytest.Layer, n)
				for i := range n {
					tags = append(tags, fmt.Sprint("v", i))
					images[i] = r.Image(tags[i])
					signatures[i] = f.sign(w, f.kind, images[i], how{})
				}
				for i, d := range images {
					a := &attached{t: t, form: f, image: d, layers: signatures[(i+shift)%n]}
					if shift == n {
						a.layers = slices.Concat(signatures...)
					}
					a.to(r)
				}
				for i, v := range r.Judge(j, tags...).Verdicts {
					own := shift%n == 0
					if (v.State == verify.Passed) != own || own && len(v.Outcome.Evidence) != 1 {
						t.Errorf("image %d, signatures moved by %d: %s", i, shift, must(json.Marshal(v)))
					}
					if v.State == verify.Passed && shift < n {
						passed++
					}
				}
			}
			if passed != n {
				t.Errorf("%d of %d × %d pass, want %d", passed, n, n, n)
			}
		})
	}
}
