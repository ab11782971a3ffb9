package main

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/trust"

	"github.com/urfave/cli/v2"
)

// policyOptions say by what images are judged: a policy and what is trusted, or
// one signer named here.
type policyOptions struct {
	policy, env, notation string
	trust                 string
	signer                policy.Signer
	roots                 []string
	rootsFlag             cli.StringSlice
}

func (o *policyOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "policy", Category: "Policy:", Usage: "judge by the policy in `FILE`: of airgap's form, a policy.json of containers/image, or ClusterImagePolicies", DefaultText: "$AIRGAP_POLICY", Destination: &o.policy},
		&cli.StringFlag{Name: "env", Category: "Policy:", Usage: "judge by the policy's environment `NAME`", DefaultText: "none", Destination: &o.env},
		&cli.StringFlag{Name: "trust-policy", Category: "Policy:", Usage: "judge by notation's trust policy in `FILE`", DefaultText: "none", Destination: &o.notation},
		&cli.StringFlag{Name: "trust", Category: "Policy:", Usage: "trust what is in `DIR`, and nothing else", DefaultText: "$AIRGAP_TRUST, else trust beside the default store", Destination: &o.trust},
		&cli.StringFlag{Name: "key", Category: "Policy:", Usage: "without a policy: everything has to be signed, as cosign signs, by `KEY`, a file or a name in the trust directory", DefaultText: "none", Destination: &o.signer.Key},
		&cli.StringFlag{Name: "certificate-identity", Category: "Policy:", Usage: "without a policy: … by `IDENTITY`", DefaultText: "none", Destination: &o.signer.Identity},
		&cli.StringFlag{Name: "certificate-identity-regexp", Category: "Policy:", Usage: "without a policy: … by an identity that `REGEXP` fits", DefaultText: "none", Destination: &o.signer.IdentityRegexp},
		&cli.StringFlag{Name: "certificate-oidc-issuer", Category: "Policy:", Usage: "… for which `ISSUER` vouched", DefaultText: "none", Destination: &o.signer.Issuer},
		&cli.StringFlag{Name: "certificate-oidc-issuer-regexp", Category: "Policy:", Usage: "… for which an issuer vouched that `REGEXP` fits", DefaultText: "none", Destination: &o.signer.IssuerRegexp},
		&cli.StringSliceFlag{Name: "trusted-root", Category: "Policy:", Usage: "trust the Sigstore trusted root in `FILE`, beside the trust directory; repeatable", DefaultText: "none", Destination: &o.rootsFlag},
	}
}

// given says whether there is anything to judge by.
func (o *policyOptions) given(u *ui) bool {
	return cmp.Or(o.policy, o.notation, u.getenv("AIRGAP_POLICY")) != "" || o.signer != (policy.Signer{})
}

// policyError marks that the policy or the trust cannot be used: nothing was
// judged, and that is the fault of what was given.
type policyError struct{ err error }

func (e *policyError) Error() string        { return e.err.Error() }
func (e *policyError) Unwrap() error        { return e.err }
func (e *policyError) Is(target error) bool { return target == errUsage }

// judge puts the judge together.
func (o *policyOptions) judge(u *ui) (*verify.Judge, error) {
	o.roots = o.rootsFlag.Value()
	named := 0
	for _, is := range []bool{o.policy != "", o.notation != "", o.signer != (policy.Signer{})} {
		if is {
			named++
		}
	}
	if named > 1 {
		return nil, usagef("--policy, --trust-policy and a signer: want one of them")
	}
	if o.env != "" && (o.notation != "" || o.signer != (policy.Signer{})) {
		return nil, usagef("--env is about --policy")
	}
	j := &verify.Judge{Keys: map[string]crypto.PublicKey{}}
	for _, path := range o.roots {
		r, err := verify.ReadRoot(path)
		if err != nil {
			return nil, &policyError{fmt.Errorf("--trusted-root: %w", err)}
		}
		j.Roots = append(j.Roots, r)
	}
	var err error
	if o.signer == (policy.Signer{}) {
		j.Policy, err = o.readPolicy(u)
	}
	if err == nil {
		j.Trust, err = o.openTrust(u)
	}
	if err == nil && j.Policy == nil {
		j.Policy, err = o.signerPolicy(j)
	}
	if err != nil {
		return nil, &policyError{err}
	}
	if o.policy+o.notation != "" || o.signer != (policy.Signer{}) {
		if set := u.getenv("AIRGAP_POLICY"); set != "" && set != o.policy {
			u.warn("$AIRGAP_POLICY (%s) is not asked: another policy was given", escape(set))
		}
	}
	return j, nil
}

func (o *policyOptions) readPolicy(u *ui) (*policy.Policy, error) {
	if o.notation == "" {
		return policy.Load(cmp.Or(o.policy, u.getenv("AIRGAP_POLICY")), o.env)
	}
	data, err := policy.ReadFile(o.notation)
	if err != nil {
		return nil, err
	}
	return policy.FromNotation(o.notation, data)
}

// signerPolicy demands the signer that was named. A key's name in the trust
// directory comes before a file that happens to be called so.
func (o *policyOptions) signerPolicy(j *verify.Judge) (*policy.Policy, error) {
	s := o.signer
	if _, pinned := j.Trust.Key(s.Key); !pinned && strings.ContainsAny(s.Key, `/\.`) {
		key, err := verify.ReadKey(s.Key)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		j.Keys[s.Key] = key
	}
	return policy.FromSigner(s)
}

// openTrust opens the trust directory. Whoever names a signer by files alone needs
// none.
func (o *policyOptions) openTrust(u *ui) (*trust.Trust, error) {
	dir, err := u.trustDir(o.trust)
	if err == nil {
		_, err = os.Stat(dir)
	}
	if alone := o.trust == "" && o.signer != (policy.Signer{}); err != nil && alone && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUsage)) {
		return &trust.Trust{}, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &adviceError{fmt.Errorf("there is no trust directory %s, so nothing is trusted", dir), "make one with airgap trust init, then airgap trust add"}
	}
	if err != nil {
		return nil, err
	}
	return trust.Open(dir)
}
