package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What Check finds. The first two keep honest content from being accepted.
const (
	FindExpired    = "expired"       // a certificate, or all of a kind in a trusted root
	FindStale      = "stale"         // a CRL whose next update was due
	FindExpires    = "expires"       // one of these will be, soon
	FindNotYet     = "not-yet"       // it begins later
	FindSuperseded = "superseded"    // a CRL of which there is a newer one
	FindUnsigned   = "unsigned"      // a CRL that no certificate here has signed
	FindWeakKey    = "weak-key"      // one that notation refuses, or should be
	FindNotCA      = "not-a-ca"      // a certificate that can vouch for itself only
	FindEmpty      = "empty"         // a store without certificates
	FindPrivateKey = "private-key"   // one lies in the folder
	FindNothing    = "trusts-nobody" // there is nothing here
	FindChanged    = "changed"       // since it was confirmed, by other ways
	FindFuture     = "future"        // it was confirmed at a time yet to come, a problem too
)

// The smallest keys that are not weak: what notation asks for
// (notaryproject/specifications, signature-specification.md, "Algorithm
// Selection").
const (
	minRSABits   = 2048
	minCurveBits = 256
)

// Finding is something to know about a trust directory.
type Finding struct {
	Code string `json:"code"` // one of those above
	// Problem says that what is concerned is of no use until something is done.
	Problem bool      `json:"problem"`
	File    string    `json:"file,omitempty"`
	Name    string    `json:"name,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Message string    `json:"message"`
	When    time.Time `json:"when,omitzero"` // it ends, ended or begins
}

// Check says what has expired at now, what will within the time after it, and
// what else is odd: problems first, then by file.
func (t *Trust) Check(now time.Time, within time.Duration) []Finding {
	c := &checker{t: t, now: now, soon: now.Add(within)}
	for _, s := range t.stores {
		c.store(s)
	}
	for _, k := range t.keys {
		c.weak(keyItem(k), k.Public)
	}
	for _, r := range t.roots {
		c.root(r)
	}
	for _, l := range t.crls {
		c.crl(l)
	}
	for _, file := range t.privateKeys {
		c.add(Item{File: file}, Finding{Code: FindPrivateKey, Message: "a private key does not belong with what is trusted; " + keepPrivate})
	}
	c.confirmed()
	if len(t.stores)+len(t.keys)+len(t.roots) == 0 {
		c.add(Item{}, Finding{Code: FindNothing, Message: "nobody is trusted yet; airgap trust add adds somebody"})
	}
	slices.SortStableFunc(c.found, func(a, b Finding) int {
		switch {
		case a.Problem && !b.Problem:
			return -1
		case b.Problem && !a.Problem:
			return 1
		}
		return strings.Compare(a.File, b.File)
	})
	return c.found
}

type checker struct {
	t         *Trust
	now, soon time.Time
	found     []Finding
}

func (c *checker) add(i Item, f Finding) {
	f.File, f.Name, f.Subject = i.File, i.Name, i.Subject
	c.found = append(c.found, f)
}

func (c *checker) store(s Store) {
	if len(s.Certificates) == 0 {
		name := string(s.Type) + ":" + s.Name
		c.add(Item{File: x509Dir + "/" + string(s.Type) + "/" + s.Name, Name: name},
			Finding{Code: FindEmpty, Message: "the store is empty; whoever asks for it is refused"})
	}
	for _, cert := range s.Certificates {
		i := certificateItem(s, cert)
		c.validity(i)
		c.weak(i, cert.PublicKey)
		if !cert.IsCA {
			c.add(i, Finding{Code: FindNotCA, Message: "it is no CA: it vouches for what its own key signs, and for no other certificate"})
		}
	}
}

// validity looks at the two ends of an item's time.
func (c *checker) validity(i Item) {
	switch {
	case i.NotBefore.After(c.now):
		c.add(i, Finding{Code: FindNotYet, When: i.NotBefore, Message: "it is not valid before " + day(i.NotBefore)})
	case i.NotAfter.IsZero():
	case !i.NotAfter.After(c.now):
		c.add(i, Finding{Code: FindExpired, Problem: true, When: i.NotAfter, Message: "it has expired on " + day(i.NotAfter)})
	case !i.NotAfter.After(c.soon):
		c.add(i, Finding{Code: FindExpires, When: i.NotAfter, Message: "it expires on " + day(i.NotAfter)})
	}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func (c *checker) weak(i Item, key crypto.PublicKey) {
	bits, least := 0, 0
	switch k := key.(type) {
	case *rsa.PublicKey:
		bits, least = k.N.BitLen(), minRSABits
	case *ecdsa.PublicKey:
		bits, least = k.Curve.Params().BitSize, minCurveBits
	}
	if bits < least {
		c.add(i, Finding{Code: FindWeakKey, Message: fmt.Sprintf("its key, %s, is too short; at least %d bits are safe", keyText(key), least)})
	}
}

// root looks at a trusted root kind by kind. Old logs and authorities are kept in
// it, for what was signed in their time: that one has ended says nothing as long
// as another goes on.
func (c *checker) root(r rootFile) {
	last := map[string]Item{}
	var kinds []string
	for _, i := range r.items() {
		have, ok := last[i.Kind]
		if !ok {
			kinds = append(kinds, i.Kind)
		}
		if !ok || later(i, have) {
			last[i.Kind] = i
		}
	}
	for _, kind := range kinds {
		i := last[kind]
		before := len(c.found)
		c.validity(i)
		for n := before; n < len(c.found); n++ {
			c.found[n].Message = "of each " + kind + ", the one that is valid longest: " + c.found[n].Message
		}
	}
}

// later says whether a is valid for longer than b.
func later(a, b Item) bool {
	return !b.NotAfter.IsZero() && (a.NotAfter.IsZero() || a.NotAfter.After(b.NotAfter))
}

func (c *checker) crl(l crlFile) {
	i := l.item()
	if why := c.t.unsigned(l); why != "" {
		c.add(i, Finding{Code: FindUnsigned, Message: why})
	}
	if newer := c.newer(l); newer != "" {
		c.add(i, Finding{Code: FindSuperseded, Message: "there is a newer one, " + newer + "; this one can be removed"})
		return
	}
	switch {
	case i.NotBefore.After(c.now):
		c.add(i, Finding{Code: FindNotYet, When: i.NotBefore, Message: "it was made on " + day(i.NotBefore) + ", which is yet to come"})
	case i.NotAfter.IsZero():
		c.add(i, Finding{Code: FindStale, Problem: true, Message: "it does not say when the next one is due, and counts as stale"})
	case !i.NotAfter.After(c.now):
		c.add(i, Finding{Code: FindStale, Problem: true, When: i.NotAfter, Message: "the next one was due on " + day(i.NotAfter) + "; bring a new one"})
	case !i.NotAfter.After(c.soon):
		c.add(i, Finding{Code: FindExpires, When: i.NotAfter, Message: "the next one is due on " + day(i.NotAfter)})
	}
}

// newer returns the file of a CRL that takes the place of l, by its number, which
// grows (RFC 5280, 5.2.3). It has to be signed: anybody can make a high number.
func (c *checker) newer(l crlFile) string {
	for _, o := range c.t.crls {
		if sameList(o, l) && compareAge(o, l) > 0 && !o.ThisUpdate.After(c.now) && c.t.unsigned(o) == "" {
			return o.file
		}
	}
	return ""
}

// unsigned says why no certificate here vouches for a CRL, or "".
func (t *Trust) unsigned(l crlFile) string {
	switch signed, namesakes := t.vouched(l); {
	case signed:
		return ""
	case namesakes > 0:
		return "a certificate here has its issuer's name, but did not sign it"
	}
	return "no certificate here is its issuer's; it counts only if a signature brings that"
}
