package main

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

const (
	sourceName = "team/airgap" // the repository in registry A
	prefix     = "mirror"      // what registry B puts before it
	tag        = "1.0"
	bundleName = "bundle.tar"
	badName    = "damaged.tar"
	storeName  = "store"
	badStore   = "damaged-store"
	policyName = "policy.yaml"
	trustName  = "trust"
)

// demo is the state that one chapter leaves to the next.
type demo struct {
	*story
	prog *program
	a, b *server

	source, dest repository
	signers      *signers
	published    *publisher
	attached     []attachment
	original     []item // everything in registry A, as it served it
	verified     int
}

func newDemo(s *story) (*demo, error) {
	prog, err := readProgram(s.binary)
	if err != nil {
		return nil, err
	}
	d := &demo{story: s, prog: prog}
	if d.signers, err = newSigners(); err != nil {
		return nil, err
	}
	if d.a, err = startRegistry(true); err != nil {
		return nil, err
	}
	if d.b, err = startRegistry(false); err != nil {
		d.close()
		return nil, err
	}
	d.source = repository{d.a.host, sourceName}
	d.dest = repository{d.b.host, prefix + "/" + sourceName}
	return d, nil
}

func (d *demo) close() {
	for _, s := range []*server{d.a, d.b} {
		if s != nil {
			s.stop()
		}
	}
}

// publish fills registry A.
func (d *demo) publish(ctx context.Context) error {
	fmt.Fprintln(d.out, "airgap demo: an image and all its signatures cross an air gap")
	d.say("Two registries run inside this process, on loopback:")
	d.item("A  %s  on the connected side, with the referrers API", d.a.host)
	d.item("B  %s  on the isolated side, without it, empty", d.b.host)

	d.step("An image is published, and several parties sign it")
	d.published = newPublisher(d.source)
	img, err := pushImage(ctx, d.published, d.prog, tag)
	if err != nil {
		return fmt.Errorf("publishing the image: %w", err)
	}
	if d.attached, err = attachEverything(ctx, d.published, img, d.prog, d.signers); err != nil {
		return err
	}
	if d.original, err = d.published.readBack(ctx); err != nil {
		return fmt.Errorf("registry A does not have what was just pushed: %w", err)
	}
	d.say("%s:%s is a real image: it holds the airgap program just built\n(%s, for %s/%s), an image for %s beside it and a BuildKit attestation.\nAttached to it, with keys made a moment ago:\n",
		d.source, tag, size(len(d.prog.data)), d.prog.platform.OS, d.prog.platform.Architecture,
		img.other.Platform.OS+"/"+img.other.Platform.Architecture)
	for _, a := range d.attached {
		d.item("%-45s on %s", a.what, a.on)
	}
	return nil
}

// export makes the bundle.
func (d *demo) export(ctx context.Context) error {
	d.step("Connected side: export it")
	if err := d.writeKey("exporter"); err != nil {
		return err
	}
	d.say("One command asks registry A for the image and, for every manifest it meets, for\nwhat is attached to that. All of it goes into one file. With a key, the export is\nsigned: who took it, from where, when.")
	_, err := d.airgap(ctx, 0, "export", d.source.String()+":"+tag, "-o", bundleName, "--record-key", "exporter.key", "--by", "release team")
	return err
}

// look shows what is in the bundle, then takes registry A away.
func (d *demo) look(ctx context.Context) error {
	d.step("Look at what will travel")
	if _, err := d.airgap(ctx, 0, "inspect", bundleName); err != nil {
		return err
	}
	if _, err := d.airgap(ctx, 0, "tree", bundleName); err != nil {
		return err
	}
	d.say("Is anything missing that the registry has?")
	if _, err := d.airgap(ctx, 0, "diff", bundleName, d.source.String()+":"+tag); err != nil {
		return err
	}
	d.a.stop()
	if _, err := d.source.tags(ctx); err == nil {
		return errors.New("registry A still answers after it was stopped")
	}
	d.say("Registry A is switched off now. From here on there is only %s.", bundleName)
	return nil
}

// refuse shows that the default is no.
func (d *demo) refuse(ctx context.Context) error {
	d.step("Isolated side: the default is no")
	d.say("Nobody has said yet whose signatures count here. Without such a policy nothing\nenters, and the exit code (3: refused) tells a script so.")
	if _, err := d.airgap(ctx, 3, "import", bundleName, "--to", d.b.host+"/"+prefix); err != nil {
		return err
	}
	return absent(ctx, d.dest)
}

// trust pins whose signatures count, and judges.
func (d *demo) trust(ctx context.Context) error {
	d.step("Isolated side: say whose signatures count")
	if err := d.outOfBand(); err != nil {
		return err
	}
	d.say("The security officer has written %s. It wants the publisher's and the\napprover's Notary signatures on the index, and the release key's cosign signature:\n", policyName)
	for _, l := range strings.Split(strings.TrimSpace(d.policy()), "\n") {
		d.item("  %s", l)
	}
	judge := []string{"verify", bundleName, "--policy", policyName, "--trust", trustName}
	if _, err := d.airgap(ctx, 0, "trust", "init", trustName); err != nil {
		return err
	}
	d.say("Nothing is pinned yet, so none of this can be checked. That is neither yes nor no\n(exit code 8: undecided), and nothing would enter.")
	if _, err := d.airgap(ctx, 8, judge...); err != nil {
		return err
	}
	d.say("Certificates and keys came by another way than the bundle. They are pinned:")
	for _, args := range [][]string{
		{"--ca", "publisher", "publisher.pem"}, {"--ca", "approver", "approver.pem"}, {"--key", "release", "release.pub"}, {"--key", "exporter", "exporter.pub"},
	} {
		if _, err := d.airgap(ctx, 0, append([]string{"trust", "add", "--trust", trustName}, args...)...); err != nil {
			return err
		}
	}
	if _, err := d.airgap(ctx, 0, judge...); err != nil {
		return err
	}
	d.say("Whoever names somebody else gets a no, and hears whose signature it is instead:")
	_, err := d.airgap(ctx, 3, "verify", bundleName, "--key", "stranger.pub")
	return err
}

// policy is what the demo's security officer wrote.
func (d *demo) policy() string {
	return `version: airgap.policy/v1
rules:
- name: team
  match: ["` + d.a.host + `/team/*"]
  require:
    allOf:
    - {name: published, notary: {stores: ["ca:publisher"], identities: ["*"]}}
    - {name: approved, notary: {stores: ["ca:approver"], identities: ["*"]}}
    - {name: released, cosign: {key: release}}
`
}

// outOfBand writes what reached the isolated side by another way.
func (d *demo) outOfBand() error {
	stranger, err := signing.GenerateKey()
	if err != nil {
		return err
	}
	files := map[string][]byte{
		policyName:      []byte(d.policy()),
		"publisher.pem": signing.CertificatesPEM(d.signers.publisher.Root()),
		"approver.pem":  signing.CertificatesPEM(d.signers.approver.Root()),
	}
	for name, key := range map[string]crypto.Signer{"release.pub": d.signers.release.key, "stranger.pub": stranger} {
		if files[name], err = signing.PublicKeyPEM(key); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(d.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// damage flips one bit in the middle of the bundle, where a layer is.
func (d *demo) damage(ctx context.Context) error {
	d.step("One bit is wrong")
	data, err := os.ReadFile(filepath.Join(d.dir, bundleName))
	if err != nil {
		return err
	}
	at := len(data) / 2
	data[at] ^= 1
	if err := os.WriteFile(filepath.Join(d.dir, badName), data, 0o600); err != nil {
		return err
	}
	d.say("%s is a copy with one bit flipped, in byte %d of %d.", badName, at, len(data))
	if _, err := d.airgap(ctx, 4, "import", badName, "--store", badStore, "--policy", policyName, "--trust", trustName); err != nil {
		return err
	}
	if err := noFiles(filepath.Join(d.dir, badStore)); err != nil {
		return err
	}
	// A registry of its own: a refused import may leave blobs without a name
	// in it, and B is to be empty when the good bundle comes.
	c, err := startRegistry(false)
	if err != nil {
		return err
	}
	defer c.stop()
	if _, err := d.airgap(ctx, 4, "import", badName, "--to", c.host, "--policy", policyName, "--trust", trustName); err != nil {
		return err
	}
	if err := absent(ctx, repository{c.host, sourceName}); err != nil {
		return err
	}
	d.say("Refused (4: damaged), and nothing can be seen of it: the store has no file, the\nregistry, a third one, no manifest and no name.")
	return nil
}

// admit imports by the policy, into a registry and into a store.
func (d *demo) admit(ctx context.Context) error {
	d.step("Import it, into a registry and into a store")
	d.say("The same judgement comes first, then every byte is hashed once more on its way, and\nnames come last.")
	if _, err := d.airgap(ctx, 0, "import", bundleName, "--to", d.b.host+"/"+prefix, "--policy", policyName, "--trust", trustName); err != nil {
		return err
	}
	d.say("The registry now has the same graph, although it lacks the referrers API: the\nattachments are listed under fallback tags, where clients look for them.")
	if _, err := d.airgap(ctx, 0, "tree", d.dest.String()+":"+tag); err != nil {
		return err
	}
	d.say("Without a registry, a folder does.")
	if _, err := d.airgap(ctx, 0, "import", bundleName, "--store", storeName, "--policy", policyName, "--trust", trustName); err != nil {
		return err
	}
	_, err := d.airgap(ctx, 0, "tree", "store:"+storeName)
	return err
}

// absent checks that a registry does not know of a repository.
func absent(ctx context.Context, repo repository) error {
	tags, err := repo.tags(ctx)
	var status *statusError
	switch {
	case errors.As(err, &status) && status.code == http.StatusNotFound:
		return nil
	case err == nil:
		return fmt.Errorf("%s should not be there, and has the tags %v", repo, tags)
	}
	return err
}

// noFiles checks that a store holds no content, finished or not. Its empty
// database may be there.
func noFiles(dir string) error {
	for _, sub := range []string{"blobs", "ingest"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				err = fmt.Errorf("%s was left behind", path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// compare holds the far side against what registry A had.
func (d *demo) compare(ctx context.Context) error {
	d.step("Compare, digest by digest, without airgap")
	if _, err := compareRegistry(ctx, d.original, d.dest); err != nil {
		return fmt.Errorf("registry B differs from registry A:\n%w", err)
	}
	if err := compareStore(d.original, filepath.Join(d.dir, storeName)); err != nil {
		return fmt.Errorf("the store differs from registry A:\n%w", err)
	}
	found, err := compareNames(ctx, d.published.tags, d.attached, d.dest)
	if err != nil {
		return fmt.Errorf("registry B names things differently:\n%w", err)
	}
	manifests, bytes := 0, 0
	for _, i := range d.original {
		bytes += len(i.data)
		if i.manifest {
			manifests++
		}
	}
	d.say("A small HTTP client of the demo's own fetched everything from registry B, read the\nfiles of the store, and compared them with what registry A had served:\n")
	d.item("%d manifests and %d blobs, %s, are the same in registry B", manifests, len(d.original)-manifests, size(bytes))
	d.item("%d manifests and %d blobs are the same in the store", manifests, len(d.original)-manifests)
	d.item("%d of %d attachments are found where clients look for them", found, len(d.attached))
	return nil
}

// verify checks the signatures on the far side.
func (d *demo) verify(ctx context.Context) error {
	d.step("Verify the signatures on the far side, without airgap")
	n, err := verifySignatures(ctx, d.dest, d.attached)
	if err != nil {
		return err
	}
	d.verified = n
	d.say("Fetched from registry B and verified with the libraries of notation and of sigstore,\neach against the one certificate or key it has to come from:\n")
	for _, a := range d.attached {
		if a.check != nil {
			d.item("ok  %-45s on %s", a.what, a.on)
		}
	}
	return nil
}

// use takes the program out of the image and runs it.
func (d *demo) use(ctx context.Context) error {
	d.step("Use it")
	got, err := pullProgram(ctx, d.dest, tag, d.prog.platform)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, d.prog.data) {
		return fmt.Errorf("the program in the image is %s, the one that was built is %s", digest.FromBytes(got), digest.FromBytes(d.prog.data))
	}
	path := filepath.Join(d.dir, "airgap-from-B")
	if err := os.WriteFile(path, got, 0o755); err != nil {
		return err
	}
	d.say("The program, pulled out of the image in registry B, is the one that was built:")
	_, err = d.run(ctx, 0, path, "./airgap-from-B", "version")
	return err
}

// sumUp ends the story.
func (d *demo) sumUp(kept bool) {
	fmt.Fprintf(d.out, "\nIt all arrived: %d items the same in two places, %d signatures verified.\n", len(d.original), d.verified)
	if kept {
		d.say("Left for you in %s:\n", d.dir)
		d.item("bin/airgap tree %s", filepath.Join(d.dir, bundleName))
		d.item("bin/airgap inspect --format json %s", filepath.Join(d.dir, bundleName))
		d.item("bin/airgap tree store:%s", filepath.Join(d.dir, storeName))
		return
	}
	d.say("Try next:\n")
	d.item("go run ./cmd/airgap/internal/demo -dir /tmp/airgap-demo bin/airgap   keeps the bundle and the store")
	d.item("bin/airgap export docker.io/library/busybox -o busybox.tar           an image of your own choice")
	d.item("bin/airgap help                                                      all commands")
}

// size writes a number of bytes for people.
func size(n int) string {
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
