package sigstore

import (
	"errors"
	"fmt"
)

// Reason sorts failures.
type Reason string

// The reasons. The last two mean that it could not be checked, all others that it
// was and the answer is no.
const (
	Malformed     Reason = "malformed"         // it cannot be read, or contradicts itself
	WrongSubject  Reason = "wrong subject"     // it is about something else
	WrongKey      Reason = "wrong key"         // not by the key that is wanted
	WrongIdentity Reason = "wrong identity"    // not by who is wanted
	BadSignature  Reason = "bad signature"     // by who is wanted, it says, but it does not verify
	NoLogEntry    Reason = "no log entry"      // none, or none for this very signature
	NoTimestamp   Reason = "no timestamp"      // no trusted clock says when it was made
	Expired       Reason = "expired"           // the certificate was not valid when it was made
	Untrusted     Reason = "untrusted"         // by a CA, log or timestamp authority that is not pinned
	NotPinned     Reason = "nothing is pinned" // nothing was given that it could be checked with
	Unsupported   Reason = "not supported"     // a form that cannot be judged, or a [Want] that makes no sense
)

// ErrWant says that a Want makes no sense.
var ErrWant = errors.New("not a wanted signer")

// Failure says why an envelope does not count. Claimed is whose it says it is,
// which is not believed.
type Failure struct {
	Reason  Reason
	Claimed Signer
	Err     error
}

func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Reason, f.Err) }
func (f *Failure) Unwrap() error { return f.Err }

// Undecided says whether it could not be checked, rather than that it was and the
// answer is no.
func (f *Failure) Undecided() bool { return f.Reason == NotPinned || f.Reason == Unsupported }

func failf(r Reason, format string, args ...any) *Failure {
	return &Failure{Reason: r, Err: fmt.Errorf(format, args...)}
}

// recovered turns a panic of a library into a failure. Deferred with the named
// error of a function that must not panic.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = failf(Malformed, "a library panicked: %v", p)
	}
}
