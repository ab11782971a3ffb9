package policy

// same is the name of the requirement whose signer r wants, or empty.
func (r *Requirement) same() string {
	switch {
	case r.Notary != nil:
		return r.Notary.SameSignerAs
	case r.Cosign != nil:
		return r.Cosign.SameSignerAs
	case r.Attestation != nil:
		return r.Attestation.SameSignerAs
	}
	return ""
}

// checkSame makes sure that sameSignerAs leads to somebody's signature.
func (r *Requirement) checkSame(named map[string]*Requirement) error {
	if name := r.same(); name != "" {
		to := named[name]
		switch {
		case to == nil:
			return r.fail("sameSignerAs %q: no requirement of this rule has that name", name)
		case to.Notary == nil && to.Cosign == nil && to.Attestation == nil:
			return r.fail("sameSignerAs %q: that is no signature", name)
		case to.same() != "":
			return r.fail("sameSignerAs %q: that one refers to another itself; name the first", name)
		case to.Notary != nil && !to.Notary.authentic():
			return r.fail("sameSignerAs %q: that one passes whoever signed, by its level or override; it must enforce authenticity", name)
		}
		r.inherit(to)
	}
	parts := r.parts()
	for i := range parts {
		if err := parts[i].checkSame(named); err != nil {
			return err
		}
	}
	if by := r.signedBy(); by != nil {
		return by.checkSame(named)
	}
	return nil
}

// authentic says whether only somebody with a pinned certificate can meet it
// (notation's specification of trust policies, "Signature Verification details").
func (n *Notary) authentic() bool {
	if action, ok := n.Override["authenticity"]; ok {
		return action == "enforce"
	}
	return n.Level != "audit" && n.Level != "skip"
}

// inherit asks for a log entry, or takes a timestamp, where the one whose signer is
// wanted does.
func (r *Requirement) inherit(to *Requirement) {
	s := to.signer()
	if s == nil {
		return
	}
	switch {
	case r.Cosign != nil:
		r.Cosign.SameLog, r.Cosign.SameStamped = s.Log, s.Stamped
	case r.Attestation != nil:
		r.Attestation.SameLog, r.Attestation.SameStamped = s.Log, s.Stamped
	}
}

// checkOrder makes sure that whoever is asked to be the signer of another is judged
// after that one, and counts only if that one is met: it goes the judge's way. What is
// in a branch of anyOf or atLeast need not be met, and what is inside an artifact's
// signedBy is about the artifact; neither is known outside. known are the names so far.
func (r *Requirement) checkOrder(known map[string]bool) error {
	if name := r.same(); name != "" && !known[name] {
		return r.fail("sameSignerAs %q: when this is judged, that one need not have been met: it is in another branch of anyOf or atLeast, in a signedBy, or behind this; put both into one allOf", name)
	}
	parts := r.parts()
	for _, second := range []bool{false, true} {
		for i := range parts {
			if parts[i].Refers() != second {
				continue
			}
			if err := parts[i].checkOrder(known); err != nil {
				return err
			}
			if r.AllOf == nil {
				parts[i].forget(known)
			}
		}
	}
	if by := r.signedBy(); by != nil {
		if err := by.checkOrder(known); err != nil {
			return err
		}
		by.forget(known)
	}
	if r.Name != "" {
		known[r.Name] = true
	}
	return nil
}

// forget takes away the names of r and of what it is made of.
func (r *Requirement) forget(known map[string]bool) {
	delete(known, r.Name)
	parts := r.parts()
	for i := range parts {
		parts[i].forget(known)
	}
	if by := r.signedBy(); by != nil {
		by.forget(known)
	}
}

// Refers says whether anything in r wants the signer of another requirement, so
// that it has to be judged after that.
func (r *Requirement) Refers() bool {
	if r.same() != "" {
		return true
	}
	parts := r.parts()
	for i := range parts {
		if parts[i].Refers() {
			return true
		}
	}
	by := r.signedBy()
	return by != nil && by.Refers()
}
