//go:build interop && linux

package interop

import "testing"

// Signatures that cosign keeps in another repository are found there, are carried, verify
// on the way, and are found inside by cosign, which is told of no other repository.
func TestSignaturesElsewhere(t *testing.T) {
	need(t, "airgap", "cosign", "oras", "registry")
	im, err := imagesOnce()
	if err != nil {
		t.Fatal(err)
	}
	k, err := keysOnce()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{images: *im, keys: k}
	for _, kind := range registries {
		for form, flag := range map[string]string{"bundle": "--new-bundle-format=true", "tag": "--new-bundle-format=false"} {
			t.Run(kind.name+"/"+form, func(t *testing.T) {
				host := kind.host(t)
				e := &elsewhere{fixture: f, form: flag, image: below(host, "team/hello"), signatures: below(host, "team/signatures")}
				run(t, "oras", "copy", "--from-oci-layout", im.dir+":v1", "--to-plain-http", e.image.String()+":v1")
				e.sign(t)
				e.carry(t, kind.host(t), nil, "--attached-from", e.signatures.String())
				e.carry(t, kind.host(t), []string{"COSIGN_REPOSITORY=" + e.signatures.String()})
			})
		}
	}
}

// elsewhere is an image whose signatures are in another repository, in one form.
type elsewhere struct {
	*fixture
	form              string
	image, signatures repository
}

// sign signs the index and the child for amd64, and makes sure that the signatures are
// not where the image is.
func (e *elsewhere) sign(t *testing.T) {
	t.Helper()
	repo := []string{"COSIGN_REPOSITORY=" + e.signatures.String()}
	runWith(t, invocation{tool: "cosign", dir: the.dir, env: repo, args: []string{
		"sign", "-y", "--recursive", "--key", e.keys.cosign + ".key", "--allow-http-registry",
		"--use-signing-config=false", "--tlog-upload=false", e.form, e.image.at(e.index),
	}})
	for _, d := range []string{e.image.at(e.index), e.image.at(e.amd64)} {
		runWith(t, invocation{tool: "cosign", env: repo, args: e.cosignVerify(d)})
		refused(t, "cosign", e.cosignVerify(d)...)
	}
}

func (e *elsewhere) cosignVerify(ref string) []string {
	return []string{"verify", "--key", e.keys.cosign + ".pub", "--allow-http-registry", "--insecure-ignore-tlog=true", e.form, ref}
}

// carry exports the image with its signatures, verifies the bundle, and imports it where
// only the image's repository is known.
func (e *elsewhere) carry(t *testing.T, inside string, env []string, flags ...string) {
	t.Helper()
	file, trust := t.TempDir()+"/app.tar", t.TempDir()+"/trust"
	run(t, "airgap", "trust", "init", trust)
	by := func(key string, args ...string) []string {
		return append(args, "--trust", trust, "--key", key+".pub")
	}
	runWith(t, invocation{tool: "airgap", env: env, args: append([]string{"export", e.image.String() + ":v1", "-o", file}, flags...)})
	run(t, "airgap", by(e.keys.cosign, "verify", file)...)
	refused(t, "airgap", by(e.keys.wrong, "verify", file)...)
	run(t, "airgap", by(e.keys.cosign, "import", file, "--to", inside)...)
	repo := below(inside, e.image.name)
	for _, ref := range []string{repo.at(e.index), repo.at(e.amd64)} {
		checkCosign(t, e.fixture, "verify", ref, e.form)
	}
	run(t, "airgap", by(e.keys.cosign, "verify", repo.at(e.index))...)
}
