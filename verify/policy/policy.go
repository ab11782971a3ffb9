package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"airgap/layout"
	"airgap/verify/notary"
)

// ErrPolicy is what every error about a policy matches.
var ErrPolicy = errors.New("unusable policy")

// Limits. A policy comes from this side, but may be a file somebody was sent.
const (
	// MaxBytes is how large a policy may be.
	MaxBytes = 1 << 20
	// maxDepth is how deep requirements may be nested, and maxRequirements how
	// many a policy may have.
	maxDepth        = 16
	maxRequirements = 10_000
)

// Policy is what may enter one environment.
type Policy struct {
	File        string // where it was read from, for people
	Digest      string // of the file, "sha256:…": a verdict names the policy it was made under
	Environment string // which of the file's environments; empty if it has none
	Rules       []Rule
	// MaxTrustAge is how long ago somebody may have confirmed what is pinned, for
	// anything to pass by it. Zero asks for no confirmation.
	MaxTrustAge Duration
	// Bundle is what a bundle itself has to bring; nil if nothing.
	Bundle *Bundle
	// StrictRevocation lets no Notary requirement pass whose certificates'
	// revocation is unknown, whatever its level says.
	StrictRevocation bool

	// choose finds the rule for an image as the tool does whose policy it is;
	// nil for our own.
	choose   func(layout.Reference) *Rule
	scoped   bool // Match holds scopes of containers/image
	warnings []string
}

// Bundle says who may have made a bundle.
type Bundle struct {
	// Keys are those, by their names in the trust directory, of which one has to
	// have signed the export.
	Keys []string `yaml:"keys"`
	// Line is the line that it has to belong to; empty for any, or none.
	Line string `yaml:"line"`
}

// String is the demand in words.
func (b *Bundle) String() string {
	s := "an export signed by the key " + strings.Join(b.Keys, " or ")
	if b.Line != "" {
		s += ", of the line " + b.Line
	}
	return s
}

// Index says through what an index may be accepted.
type Index string

// An index speaks for itself, or each selected child does.
const (
	IndexItself   Index = "itself"
	IndexChildren Index = "children"
)

// Rule is what images have to bring whose source reference one of Match fits.
type Rule struct {
	Name    string
	Match   []string
	Index   Index
	Require Requirement

	// level is 0 for a rule at the top of the file, and more for one of an
	// environment the nearer that is to the environment that was chosen.
	level int
}

// Requirement is a node of the tree: one of its fields, but for Name, is set.
type Requirement struct {
	// Name is how others refer to it, and people.
	Name string `yaml:"name"`

	AllOf   []Requirement `yaml:"allOf"`
	AnyOf   []Requirement `yaml:"anyOf"`
	AtLeast *AtLeast      `yaml:"atLeast"`

	Notary      *Notary      `yaml:"notary"`
	Cosign      *Cosign      `yaml:"cosign"`
	Attestation *Attestation `yaml:"attestation"`
	Artifact    *Artifact    `yaml:"artifact"`
	BuildKit    *BuildKit    `yaml:"buildkit"`

	// InsecureAnything is met by everything, unsigned as it may be.
	InsecureAnything bool `yaml:"insecureAcceptAnything"`
	// Nothing is met by nothing.
	Nothing bool `yaml:"reject"`

	line int
}

// AtLeast is met if Count of its requirements are.
type AtLeast struct {
	Count int           `yaml:"count"`
	Of    []Requirement `yaml:"of"`
}

// Notary asks for a Notary Project signature; see [notary.Want].
type Notary struct {
	Level           string            `yaml:"level"`
	Override        map[string]string `yaml:"override"`
	VerifyTimestamp string            `yaml:"verifyTimestamp"`
	Stores          []string          `yaml:"stores"`
	Identities      []string          `yaml:"identities"`
	SameSignerAs    string            `yaml:"sameSignerAs"`
}

// Want is the same for the verifier.
func (n *Notary) Want(strict bool) notary.Want {
	w := notary.Want{Level: n.Level, Override: map[string]string{}, VerifyTimestamp: n.VerifyTimestamp, Stores: n.Stores, Identities: n.Identities}
	for k, v := range n.Override {
		w.Override[k] = v
	}
	if strict {
		w.Override["revocation"] = "enforce"
	}
	return w
}

// Signer says whose signature of Sigstore's forms is wanted: that of a key, or of
// an identity that an issuer vouched for.
type Signer struct {
	// Key is a key's name in the trust directory.
	Key string `yaml:"key"`
	// Log demands an entry in a transparency log: of a key too, and under a trusted
	// root that names no log.
	Log bool `yaml:"transparencyLog"`
	// Stamped takes, of an identity, a timestamp of a pinned authority instead of a log
	// entry.
	Stamped bool `yaml:"logOrTimestamp"`

	Identity       string `yaml:"identity"`
	IdentityRegexp string `yaml:"identityRegexp"`
	Issuer         string `yaml:"issuer"`
	IssuerRegexp   string `yaml:"issuerRegexp"`

	// Pinned is what the policies of other tools bring instead of names.
	Pinned *Pinned `yaml:"-"`
}

// Cosign asks for a signature of cosign's, in any of its forms.
type Cosign struct {
	Signer       `yaml:",inline"`
	SameSignerAs string `yaml:"sameSignerAs"`
	// Reference is the name under which the image has to have been signed.
	Reference *Identity `yaml:"reference"`
	// SameLog demands a log entry because the one whose signer is wanted does, and
	// SameStamped takes a timestamp instead because that does.
	SameLog     bool `yaml:"-"`
	SameStamped bool `yaml:"-"`
}

// Attestation asks for a signed in-toto statement about the image.
type Attestation struct {
	PredicateType string   `yaml:"predicateType"`
	SignedBy      Signer   `yaml:"signedBy"`
	SameSignerAs  string   `yaml:"sameSignerAs"`
	MaxAge        Duration `yaml:"maxAge"`
	// Conditions are CEL expressions about `predicate`, all of which hold.
	Conditions []string `yaml:"conditions"`
	// SameLog demands a log entry because the one whose signer is wanted does, and
	// SameStamped takes a timestamp instead because that does.
	SameLog     bool `yaml:"-"`
	SameStamped bool `yaml:"-"`

	conditions []*condition
}

// Artifact asks for an attached artifact of a type, such as an SBOM or a scan
// result, that is signed itself.
type Artifact struct {
	Type string `yaml:"type"`
	// SignedBy is judged with the artifact in the image's place.
	SignedBy *Requirement `yaml:"signedBy"`
	// Conditions are CEL expressions about `content`, the artifact's one layer as
	// JSON, all of which hold.
	Conditions []string `yaml:"conditions"`

	conditions []*condition
}

// BuildKit asks that each image of an index has an attestation of a type beside it,
// as BuildKit puts them there. Nobody signs those: they count by a signature on the
// index that lists them.
type BuildKit struct {
	PredicateType string `yaml:"predicateType"`
	// SignedBy is judged with the index in the image's place.
	SignedBy *Requirement `yaml:"signedBy"`
	// Conditions are CEL expressions about `predicate`, all of which hold.
	Conditions []string `yaml:"conditions"`

	conditions []*condition
}

// Duration is a time.Duration that also knows days: 30d, 12h.
type Duration time.Duration

// maxDays is the longest age that can be asked for: a hundred years.
const maxDays = 36500

var days = regexp.MustCompile(`^([0-9]{1,6})d$`)

// ParseDuration reads 90d, 12h, 30m.
func ParseDuration(s string) (time.Duration, error) {
	if m := days.FindStringSubmatch(s); m != nil {
		var n int
		if _, err := fmt.Sscan(m[1], &n); err != nil || n < 1 || n > maxDays {
			return 0, fmt.Errorf("%.50q: want 1d to %dd", s, maxDays)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%.50q is no duration such as 30d or 12h", s)
	}
	return d, nil
}

// Text is the requirement in a few words, for people.
func (r *Requirement) Text() string {
	switch {
	case r.AllOf != nil:
		return "all of"
	case r.AnyOf != nil:
		return "any of"
	case r.AtLeast != nil:
		return fmt.Sprintf("at least %d of %d", r.AtLeast.Count, len(r.AtLeast.Of))
	case r.Notary != nil:
		return "Notary signature" + r.Notary.text()
	case r.Cosign != nil:
		return "cosign signature" + by(r.Cosign.text(), r.Cosign.SameSignerAs) + r.Cosign.as()
	case r.Attestation != nil:
		return "attestation " + r.Attestation.PredicateType + by(r.Attestation.SignedBy.text(), r.Attestation.SameSignerAs)
	case r.Artifact != nil:
		s := "artifact " + r.Artifact.Type
		if r.Artifact.SignedBy != nil {
			s += ", with a " + r.Artifact.SignedBy.Text()
		}
		return s
	case r.BuildKit != nil:
		s := "BuildKit attestation " + r.BuildKit.PredicateType
		if r.BuildKit.SignedBy != nil {
			s += ", on the index a " + r.BuildKit.SignedBy.Text()
		}
		return s
	case r.InsecureAnything:
		return "anything"
	}
	return "nothing is accepted"
}

func by(signer, same string) string {
	if same != "" {
		return " by who met " + same
	}
	return " by " + signer
}

func (n *Notary) text() string {
	s := ""
	for i, id := range n.Identities {
		if i > 0 {
			s += " or"
		}
		s += " " + id
	}
	if n.SameSignerAs != "" {
		return " by who met " + n.SameSignerAs
	}
	return " by" + s
}

// as is the name that is asked for, in words.
func (c *Cosign) as() string {
	if c.Reference == nil {
		return ""
	}
	return ", as " + c.Reference.String()
}

func (s Signer) text() string {
	if s.Pinned != nil && len(s.Pinned.Keys) > 0 {
		return s.Pinned.text()
	}
	if s.Key != "" {
		return "key " + s.Key
	}
	id, issuer := s.Identity, s.Issuer
	if id == "" {
		id = "/" + s.IdentityRegexp + "/"
	}
	if issuer == "" {
		issuer = "/" + s.IssuerRegexp + "/"
	}
	return id + " (" + issuer + ")"
}
