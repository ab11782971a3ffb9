package main

import (
	"strings"

	"airgap/layout"

	"github.com/urfave/cli/v2"
)

// cosignRepository is the environment variable by which cosign keeps signatures in
// another repository than their image.
const cosignRepository = "COSIGN_REPOSITORY"

// attachedFrom is --attached-from.
type attachedFrom struct{ repos cli.StringSlice }

func (a *attachedFrom) flag() cli.Flag {
	return &cli.StringSliceFlag{Name: "attached-from", Usage: "look for signatures and all else that is attached in `REPOSITORY`, too, as cosign does with COSIGN_REPOSITORY, which is read as well; repeatable", DefaultText: "the repository of the image", Destination: &a.repos}
}

// find has op look in the repositories of the flag and of the environment, for what is
// attached to references in registries.
func (a *attachedFrom) find(u *ui, op *opener) error {
	for _, s := range a.repos.Value() {
		repo, err := parseRepository(s)
		if err != nil {
			return &adviceError{usagef("--attached-from: %w", err), "name the repository, as in ghcr.io/acme/signatures"}
		}
		op.attachedFrom = append(op.attachedFrom, repo)
	}
	if s := u.getenv(cosignRepository); s != "" {
		repo, err := parseRepository(s)
		if err != nil {
			return &adviceError{usagef(cosignRepository+": %w", err), "unset it, or name a repository, as in ghcr.io/acme/signatures"}
		}
		op.attachedFrom = append(op.attachedFrom, repo)
	}
	return nil
}

// parseRepository reads the name of a repository, with its registry.
func parseRepository(s string) (string, error) {
	rest, _ := withoutScheme(s)
	ref, err := layout.ParseReference(rest)
	switch {
	case err != nil:
		return "", err
	case ref.Digest != "" || strings.Contains(rest[strings.LastIndex(rest, "/")+1:], ":"):
		return "", usagef("%.300q names an image, no repository", s)
	case !strings.HasPrefix(rest, ref.Registry()+"/"):
		return "", usagef("%.300q does not say which registry it is in", s)
	}
	return ref.Repository, nil
}

// warnNothingElsewhere says, when all was looked for, that there was nothing.
func (op *opener) warnNothingElsewhere(u *ui) {
	if op.elsewhere != nil && op.elsewhere.Found() == 0 {
		u.warn("nothing in %s is attached to any of the images", escape(strings.Join(op.elsewhere.Repositories(), ", ")))
	}
}
