package verify_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/verify"
	"airgap/verify/signing"
	"airgap/verify/verifytest"
)

// Where the lists of the signer's authority, of the one above it, and of the
// timestamp authority are said to be.
const (
	aboveURL = "http://crl.example/root.crl"
	stampURL = "http://crl.example/tsa.crl"
)

// chains is a signer under an intermediate, and a timestamp authority, of all of
// which there are lists.
type chains struct {
	root, below, stampRoot *signing.TestCA
	signer                 signing.Chain
	expired                signing.Chain
	tsa                    *verifytest.TSA
	then                   time.Time // when the expired one was valid
}

func newChains(t *testing.T) *chains {
	c := &chains{root: verifytest.Root(t, "root"), stampRoot: verifytest.Root(t, "tsa root"), then: time.Now().Add(-3 * time.Hour).Truncate(time.Second)}
	c.below = verifytest.Below(t, c.root, "intermediate", signing.TestOptions{CRL: aboveURL})
	c.signer = verifytest.Issue(t, c.below, "vendor", signing.TestOptions{CRL: listURL})
	c.expired = verifytest.Issue(t, c.below, "vendor", signing.TestOptions{CRL: listURL, NotBefore: c.then.Add(-time.Hour), NotAfter: c.then.Add(time.Hour)})
	c.tsa = verifytest.NewTSA(t, c.stampRoot, "tsa", signing.TestOptions{CRL: stampURL})
	return c
}

// revocation is a list, and whose.
type revocation struct {
	of   *signing.TestCA
	list verifytest.List
}

func lists(t *testing.T, ls ...revocation) (out []*x509.RevocationList) {
	for _, l := range ls {
		out = append(out, verifytest.CRL(t, l.of, l.list))
	}
	return out
}

// What lists say decides, and what is not known is never good: for the signer, for
// the authority above it, and for the timestamp authority, which notation checks
// also where a policy skips revocation.
func TestRevocation(t *testing.T) {
	c := newChains(t)
	tr := verifytest.Trust(t, verifytest.Pins{
		CA: map[string]*x509.Certificate{"vendor": c.root.Certs[0]}, TSA: map[string]*x509.Certificate{"clock": c.tsa.Root()},
	})
	list := func(ca *signing.TestCA, n int64, revoked ...*x509.Certificate) revocation {
		return revocation{of: ca, list: verifytest.List{Number: n, Revoked: revoked}}
	}
	stale := func(ca *signing.TestCA) revocation {
		return revocation{of: ca, list: verifytest.List{Number: 1, NextUpdate: time.Now().Add(-time.Hour)}}
	}
	signer, below, tsa := c.signer.Certs[0], c.below.Certs[0], c.tsa.Chain.Certs[0]
	mine, above, stamp := list(c.below, 1), list(c.root, 1), list(c.stampRoot, 1)
	bad, old := list(c.below, 2, signer), list(c.below, 1)
	type all = []revocation
	const (
		strict  = ""
		lenient = ", level: permissive"
		skipped = ", override: {revocation: skip}"
	)
	for what, test := range map[string]struct {
		more   string // of the requirement
		lists  all
		state  verify.State
		why    string // it is not passed, or what is warned of
		hard   bool   // unknown and revoked are refused, whatever the policy's level
		expiry bool   // the signer's certificate has expired; the timestamp says it was signed before
	}{
		"good":    {lists: all{mine, above}, state: verify.Passed},
		"revoked": {lists: all{bad, above}, state: verify.Refused, why: "revoked"},
		"missing": {lists: all{above}, state: verify.Undecided, why: "revocation unknown"},
		"stale":   {lists: all{stale(c.below), above}, state: verify.Undecided, why: "revocation unknown"},
		"of the future": {lists: all{{of: c.below, list: verifytest.List{Number: 1, ThisUpdate: time.Now().Add(24 * time.Hour), NextUpdate: time.Now().Add(48 * time.Hour)}}, above},
			state: verify.Undecided, why: "clock of this machine is behind"},
		"rolled back":     {lists: all{bad, old, above}, state: verify.Refused, why: "revoked"},
		"the other order": {lists: all{old, bad, above}, state: verify.Refused, why: "revoked"},
		"only the old":    {lists: all{old, above}, state: verify.Passed}, // nobody here knows better
		"skipped":         {skipped, nil, verify.Passed, "", false, false},

		"above revoked": {lists: all{mine, list(c.root, 1, below)}, state: verify.Refused, why: "revoked"},
		"above missing": {lists: all{mine}, state: verify.Undecided, why: "revocation unknown"},

		"permissive, good":            {lenient, all{mine, above}, verify.Passed, "", false, false},
		"permissive, revoked":         {lenient, all{bad, above}, verify.Passed, "revoked", false, false},
		"permissive, missing":         {lenient, all{above}, verify.Passed, "unknown", false, false},
		"permissive, rolled back":     {lenient, all{bad, old, above}, verify.Passed, "revoked", false, false},
		"permissive, revoked, harder": {lenient, all{bad, above}, verify.Refused, "revoked", true, false},
		"permissive, missing, harder": {lenient, all{above}, verify.Undecided, "revocation unknown", true, false},

		"timestamp, good":               {strict, all{mine, above, stamp}, verify.Passed, "", false, true},
		"timestamp, revoked":            {strict, all{mine, above, list(c.stampRoot, 1, tsa)}, verify.Refused, "revoked", false, true},
		"timestamp, missing":            {strict, all{mine, above}, verify.Undecided, "revocation unknown", false, true},
		"timestamp, stale":              {strict, all{mine, above, stale(c.stampRoot)}, verify.Undecided, "revocation unknown", false, true},
		"timestamp, skipped, good":      {skipped, all{stamp}, verify.Passed, "", false, true},
		"timestamp, skipped, revoked":   {skipped, all{list(c.stampRoot, 1, tsa)}, verify.Refused, "revoked", false, true},
		"timestamp, skipped, missing":   {skipped, nil, verify.Undecided, "revocation unknown", false, true},
		"timestamp, permissive, none":   {lenient, nil, verify.Passed, "authenticTimestamp", false, true},
		"timestamp not needed, missing": {strict, all{mine, above}, verify.Passed, "", false, false},
	} {
		r := verifytest.NewRepository(t)
		chain, o := c.signer, verifytest.NotaryOptions{}
		if test.expiry {
			chain, o = c.expired, verifytest.NotaryOptions{SigningTime: c.then, TSA: c.tsa.At(c.then)}
		}
		r.Attach(verifytest.Notary(t, r.Image("v1"), chain, o))
		p := ruled(t, `notary: {stores: ["ca:vendor", "tsa:clock"], verifyTimestamp: afterCertExpiry, identities: ["*"]`+test.more+"}")
		p.StrictRevocation = test.hard
		report := r.Judge(&verify.Judge{Policy: p, Trust: tr, CRLs: lists(t, test.lists...)}, "v1")
		v := report.Verdicts[0]
		if v.State != test.state {
			t.Errorf("%s: %s, want %s: %s", what, v.State, test.state, must(json.Marshal(v)))
			continue
		}
		if v.State != verify.Passed {
			if reason := v.Outcome.Tried[0].Reason; !strings.Contains(reason, test.why) {
				t.Errorf("%s: because of %q, want %q", what, reason, test.why)
			}
			continue
		}
		warnings := strings.Join(v.Warnings, "\n")
		if !strings.Contains(warnings, test.why) || (test.why == "") != (warnings == "") {
			t.Errorf("%s: warns of %q, want %q", what, warnings, test.why)
		}
		if test.why != "" && (!strings.Contains(warnings, "CN=vendor") || !strings.Contains(string(must(json.Marshal(report))), `"warnings":[`)) {
			t.Errorf("%s: the report does not say of whom it warns: %s", what, must(json.Marshal(report)))
		}
	}
}

// What a verdict rests on is said, so that it can be kept, and a kept list holds
// against an older one that comes later, wherever it is kept.
func TestListsAreKept(t *testing.T) {
	c := newChains(t)
	pins := verifytest.Pins{CA: map[string]*x509.Certificate{"vendor": c.root.Certs[0]}}
	p := ruled(t, `notary: {stores: ["ca:vendor"], identities: ["*"]}`)
	r := verifytest.NewRepository(t)
	r.Attach(verifytest.Notary(t, r.Image("v1"), c.signer, verifytest.NotaryOptions{}))
	travelled := lists(t, revocation{of: c.below, list: verifytest.List{Number: 4}}, revocation{of: c.root, list: verifytest.List{Number: 1}},
		revocation{of: verifytest.Root(t, "somebody"), list: verifytest.List{Number: 9}})
	j := &verify.Judge{Policy: p, Trust: verifytest.Trust(t, pins), CRLs: travelled}
	report := r.Judge(j, "v1")
	var used []*x509.RevocationList
	for _, l := range report.Lists {
		used = append(used, l.CRL)
	}
	if report.State != verify.Passed || len(used) != 2 || !slices.Contains(used, travelled[0]) || !slices.Contains(used, travelled[1]) {
		t.Errorf("%s, resting on %d lists, want two", report.State, len(used))
	}
	pins.CRLs = lists(t, revocation{of: c.below, list: verifytest.List{Number: 5, Revoked: c.signer.Certs[:1]}})
	j.Trust = verifytest.Trust(t, pins)
	if report := r.Judge(j, "v1"); report.State != verify.Refused || len(report.Lists) != 0 {
		t.Errorf("with a newer list pinned: %s, resting on %d lists", report.State, len(report.Lists))
	}
}

// A timestamp counts if a pinned authority made it, for this very signature, while
// the signer's certificate was valid.
func TestTimestamps(t *testing.T) {
	c := newChains(t)
	plain := verifytest.Issue(t, c.root, "vendor", signing.TestOptions{NotBefore: c.then.Add(-time.Hour), NotAfter: c.then.Add(time.Hour)})
	lasting := verifytest.Issue(t, c.root, "vendor", signing.TestOptions{})
	tsa := verifytest.NewTSA(t, c.stampRoot, "tsa", signing.TestOptions{})
	stranger := verifytest.NewTSA(t, verifytest.Root(t, "tsa root"), "tsa", signing.TestOptions{}) // the same names
	tr := verifytest.Trust(t, verifytest.Pins{
		CA: map[string]*x509.Certificate{"vendor": c.root.Certs[0]}, TSA: map[string]*x509.Certificate{"clock": tsa.Root()},
	})
	stamped := func(by *verifytest.TSA, at time.Time) verifytest.NotaryOptions {
		return verifytest.NotaryOptions{SigningTime: c.then, TSA: by.At(at)}
	}
	const always = `notary: {stores: ["ca:vendor", "tsa:clock"], verifyTimestamp: always, identities: ["*"]}`
	const unstamped = `notary: {stores: ["ca:vendor"], identities: ["*"]}`
	for what, test := range map[string]struct {
		require string
		chain   signing.Chain
		o       verifytest.NotaryOptions
		moved   bool // the stamp is another signature's
		state   verify.State
		why     string
		clock   bool
	}{
		"in time":               {always, plain, stamped(tsa, c.then), false, verify.Passed, "", true},
		"too early":             {always, plain, stamped(tsa, c.then.Add(-2*time.Hour)), false, verify.Refused, "before certificate", false},
		"too late":              {always, plain, stamped(tsa, c.then.Add(2*time.Hour)), false, verify.Refused, "after certificate", false},
		"by a stranger":         {always, plain, stamped(stranger, c.then), false, verify.Refused, "unknown authority", false},
		"of another signature":  {always, plain, stamped(tsa, c.then), true, verify.Refused, "mismatched message", false},
		"none":                  {always, plain, verifytest.NotaryOptions{SigningTime: c.then}, false, verify.Refused, "no timestamp", false},
		"none, still valid":     {always, lasting, verifytest.NotaryOptions{}, false, verify.Refused, "no timestamp", false},
		"valid and stamped":     {always, lasting, stamped(tsa, c.then), false, verify.Passed, "", true},
		"no clock is trusted":   {unstamped, plain, stamped(tsa, c.then), false, verify.Refused, "certificate not valid", false},
		"valid, nobody asks":    {unstamped, lasting, stamped(stranger, c.then), false, verify.Passed, "", false},
		"of the future":         {always, lasting, stamped(tsa, time.Now().Add(24*time.Hour)), false, verify.Undecided, "clock of this machine is behind", false},
		"by one that had ended": {always, lasting, stamped(tsa, tsa.Root().NotAfter.Add(time.Hour)), false, verify.Refused, "expired or is not yet valid", false},
	} {
		r := verifytest.NewRepository(t)
		d := r.Image("v1")
		a := verifytest.Notary(t, d, test.chain, test.o)
		if test.moved {
			other := test.o
			other.SigningTime = other.SigningTime.Add(time.Second)
			a = withStampOf(t, d, a, verifytest.Notary(t, d, test.chain, other))
		}
		r.Attach(a)
		v := r.Judge(&verify.Judge{Policy: ruled(t, test.require), Trust: tr}, "v1").Verdicts[0]
		if text := string(must(json.Marshal(v.Outcome))); v.State != test.state || !strings.Contains(text, test.why) {
			t.Errorf("%s: %s, want %s because of %q: %s", what, v.State, test.state, test.why, text)
			continue
		}
		if v.State == verify.Passed && (v.Outcome.Evidence[0].SignedAt != nil) != test.clock {
			t.Errorf("%s: signed at %v", what, v.Outcome.Evidence[0].SignedAt)
		}
	}
}

// withStampOf is a signature in JWS form with the timestamp of another.
func withStampOf(t *testing.T, d layout.Descriptor, a, other signing.Artifact) signing.Artifact {
	t.Helper()
	var mine, theirs struct {
		Payload   string         `json:"payload"`
		Protected string         `json:"protected"`
		Header    map[string]any `json:"header"`
		Signature string         `json:"signature"`
	}
	layers, others := verifytest.LayersOf(t, a), verifytest.LayersOf(t, other)
	if err := errors.Join(json.Unmarshal(layers[0].Data, &mine), json.Unmarshal(others[0].Data, &theirs)); err != nil {
		t.Fatal(err)
	}
	const stamp = "io.cncf.notary.timestampSignature"
	if mine.Header[stamp] == nil || mine.Header[stamp] == theirs.Header[stamp] {
		t.Fatal("no two timestamps")
	}
	mine.Header[stamp] = theirs.Header[stamp]
	layers[0].Data = must(json.Marshal(mine))
	return verifytest.FromLayers(t, d, "", layers...)
}
