package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"airgap/verify/policy"

	"github.com/urfave/cli/v2"
)

// policyCommandOptions are what the flags of policy say.
type policyCommandOptions struct {
	args     []string
	env      string
	as       string
	trust    string
	registry registryOptions
	outputOptions
}

func policyCommand(u *ui) *cli.Command {
	var o policyCommandOptions
	return &cli.Command{
		Name:      "policy",
		Usage:     "look at a policy, and try it",
		ArgsUsage: "check FILE | test FILE TARGET...",
		Description: `A policy says what may enter; docs/policy.md has its form. A policy.json of
containers/image (podman, skopeo) and ClusterImagePolicies of Sigstore's
policy-controller are taken too, and known by what is in them.

    check  read FILE, all of its environments, and list the rules, the most specific
           first, as they are tried, and what is probably not meant so; with --trust,
           also say which names of stores and keys are not in the trust directory. Exit
           code 2 if it cannot be used
    test   judge TARGET as airgap verify does, with FILE for the policy

Examples:
   airgap policy check policy.yaml
   airgap policy check policy.yaml --env prod --trust /etc/airgap/trust
   airgap policy test policy.yaml app.tar --env prod`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "env", Usage: "take the policy's environment `NAME`", DefaultText: "all, for check; none, for test", Destination: &o.env},
			trustFlag(&o.trust), asFlag(&o.as),
		}, append(o.registry.flags(), o.outputOptions.flags()...)...),
		Action: func(c *cli.Context) error {
			o.args = c.Args().Slice()
			return runPolicy(c.Context, u, o)
		},
	}
}

func runPolicy(ctx context.Context, u *ui, o policyCommandOptions) error {
	if err := o.outputOptions.check(); err != nil {
		return err
	}
	verb := ""
	if len(o.args) > 0 {
		verb = o.args[0]
	}
	switch {
	case verb == "check" && len(o.args) == 2:
		return runPolicyCheck(u, o)
	case verb == "test" && len(o.args) >= 3:
		return runVerify(ctx, u, verifyOptions{
			targets: o.args[2:], as: o.as, registry: o.registry, outputOptions: o.outputOptions,
			judge: policyOptions{policy: o.args[1], env: o.env, trust: o.trust},
		})
	case verb == "check":
		return usagef("policy check wants one file")
	case verb == "test":
		return usagef("policy test wants a file, and what to judge by it")
	}
	return &adviceError{usagef("policy wants to be told what to do: check or test"), "airgap help policy has examples"}
}

// policyResult is what policy check reports.
type policyResult struct {
	File         string              `json:"file"`
	Environments []policyEnvironment `json:"environments"`
}

type policyEnvironment struct {
	Name  string       `json:"name,omitempty"`
	Rules []policyRule `json:"rules"`
	// Warnings are what can be used and is probably not meant so.
	Warnings []string `json:"warnings,omitempty"`
	// NotPinned are names that the trust directory does not have.
	NotPinned []string `json:"notPinned,omitempty"`
}

type policyRule struct {
	Name        string   `json:"name"`
	Match       []string `json:"match"`
	Index       string   `json:"index"`
	Requirement string   `json:"requirement"`
}

func runPolicyCheck(u *ui, o policyCommandOptions) error {
	data, err := policy.ReadFile(o.args[1])
	if err != nil {
		return &policyError{err}
	}
	envs := []string{o.env}
	if o.env == "" {
		if envs, err = policy.Environments(o.args[1], data); err != nil {
			return &policyError{err}
		}
	}
	res := &policyResult{File: o.args[1]}
	for _, env := range envs {
		p, err := policy.Parse(o.args[1], data, env)
		if err != nil {
			return &policyError{err}
		}
		e := policyEnvironment{Name: env, Warnings: p.Warnings()}
		for _, r := range p.Sorted() {
			e.Rules = append(e.Rules, policyRule{r.Name, r.Match, string(r.Index), r.Require.Describe()})
		}
		if o.trust != "" {
			if e.NotPinned, err = notPinned(u, o.trust, p); err != nil {
				return &policyError{err}
			}
		}
		res.Environments = append(res.Environments, e)
	}
	return u.result(o.outputOptions, "PolicyCheck", res, func(w io.Writer) { writePolicy(w, res) })
}

// notPinned lists the stores and keys that a policy names and the trust directory
// does not have.
func notPinned(u *ui, dir string, p *policy.Policy) ([]string, error) {
	o := policyOptions{trust: dir}
	t, err := o.openTrust(u)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, s := range t.Stores() {
		have[string(s.Type)+":"+s.Name] = len(s.Certificates) > 0
	}
	var out []string
	for _, s := range p.Stores() {
		if !have[s] {
			out = append(out, "store "+s)
		}
	}
	for _, k := range p.Keys() {
		if _, ok := t.Key(k); !ok {
			out = append(out, "key "+k)
		}
	}
	if p.Keyless() && len(t.Roots()) == 0 {
		out = append(out, "a Sigstore trusted root")
	}
	return out, nil
}

func writePolicy(w io.Writer, res *policyResult) {
	for i, e := range res.Environments {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if e.Name != "" {
			fmt.Fprintf(w, "environment %s\n", escape(e.Name))
		}
		rows := [][]string{{"RULE", "FOR", "INDEX", "REQUIRES"}}
		for _, r := range e.Rules {
			rows = append(rows, []string{r.Name, strings.Join(r.Match, " "), r.Index, r.Requirement})
		}
		table(w, rows)
		for _, warning := range e.Warnings {
			fmt.Fprintf(w, "WARNING: %s\n", escape(warning))
		}
		for _, n := range e.NotPinned {
			fmt.Fprintf(w, "not in the trust directory: %s\n", escape(n))
		}
	}
	fmt.Fprintf(w, "\n%s can be used; whatever no rule is for is refused\n", escape(res.File))
}
