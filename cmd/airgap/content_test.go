package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"
	"airgap/verify/signing"

	"github.com/rogpeppe/go-internal/testscript"
)

const layerType = "application/vnd.oci.image.layer.v1.tar"

// contentNamed makes what scripts fill repositories with.
//
//	everything  all forms of attachment at once
//	signed      v1: an image with real signatures of each sort
//	other       v1: another image
//	many        v1: an image of four large layers, with a signature
//	sparse      sparse: an index that lacks a child
//	riding      signed, and an index with an image is attached, which nobody signed
//	hostile     v1: an image whose artifact types want to play with terminals
//	twins       a:1 and b:1 in two repositories beneath the one given
func contentNamed(what, repo string) (layouttest.Content, error) {
	switch what {
	case "everything":
		return layouttest.Everything(repo), nil
	case "sparse":
		return layouttest.Sparse(repo), nil
	case "signed":
		return signedContent(repo, nil)
	case "riding":
		return signedContent(repo, func(b *layouttest.Builder, image layout.Descriptor) {
			b.ReferrerIndex(image, b.Image("riding"))
		})
	case "many":
		return manyLayers(repo), nil
	case "next":
		return nextLayers(repo), nil
	case "hostile":
		return hostileContent(repo), nil
	case "other":
		b := layouttest.New(repo)
		b.Tag("v1", b.Image("another"))
		return b.Content(), nil
	case "twins":
		one, two := layouttest.New(repo+"/a"), layouttest.New(repo+"/b")
		one.Tag("1", one.Image("a"))
		two.Tag("1", two.Image("b"))
		return layouttest.Merge(one.Content(), two.Content()), nil
	}
	return layouttest.Content{}, fmt.Errorf("no content is called %s", what)
}

// signedContent has signatures that the real tools would accept, and what more adds.
func signedContent(repo string, more func(*layouttest.Builder, layout.Descriptor)) (layouttest.Content, error) {
	b := layouttest.New(repo)
	image := b.Image("signed")
	b.Tag("v1", image)
	if more != nil {
		more(b, image)
	}
	key := signing.InsecureKey("airgap test")
	ca, err := signing.NewTestCA("airgap test root", signing.TestOptions{InsecureSeed: "root"})
	if err != nil {
		return layouttest.Content{}, err
	}
	chain, err := ca.Issue("publisher", signing.TestOptions{InsecureSeed: "publisher"})
	if err != nil {
		return layouttest.Content{}, err
	}
	var made []signing.Artifact
	add := func(a signing.Artifact, err2 error) {
		made = append(made, a)
		if err == nil {
			err = err2
		}
	}
	add(signing.Notary(image, chain, signing.NotaryOptions{}))
	add(signing.BundleSignature(image, key))
	add(signing.CosignSignature(image, signing.Claim{Reference: repo}, key))
	add(signing.CosignSBOM(image, "text/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`)))
	if err != nil {
		return layouttest.Content{}, err
	}
	for _, a := range made {
		for _, blob := range a.Blobs {
			b.Blob(blob.Desc.MediaType, blob.Data)
		}
		d := b.Blob(a.Manifest.MediaType, a.Raw)
		if a.Tag != "" {
			b.Tag(a.Tag, d)
		}
	}
	return b.Content(), nil
}

// fourLayers adds layers of a size that testRegistry takes for one, and that --jobs
// counts.
func fourLayers(b *layouttest.Builder) []layout.Descriptor {
	rng := rand.NewChaCha8([32]byte{7})
	var layers []layout.Descriptor
	for i := range 4 {
		data := make([]byte, layerSize+i<<16)
		_, _ = rng.Read(data) // never fails
		layers = append(layers, b.Blob(layerType, data))
	}
	return layers
}

// nextLayers has an image with three layers of manyLayers and one of its own.
func nextLayers(repo string) layouttest.Content {
	b := layouttest.New(repo)
	layers := fourLayers(b)
	data := make([]byte, layerSize)
	_, _ = rand.NewChaCha8([32]byte{8}).Read(data) // never fails
	layers[3] = b.Blob(layerType, data)
	b.Tag("v2", b.Image("next", layers...))
	return b.Content()
}

// manyLayers has an image with four layers.
func manyLayers(repo string) layouttest.Content {
	b := layouttest.New(repo)
	image := b.Image("many", fourLayers(b)...)
	b.Tag("v1", image)
	b.Cosign(layout.FormCosignSig, image, "key")
	return b.Content()
}

// Names that would clear a screen, reverse what follows, or pass for a line of
// ours.
const (
	escName  = "application/x-\x1b[2J\x1b]0;owned\x07"
	bidiName = "application/x-\u202egnp.evil"
	lineName = "application/x\nairgap: all signatures verified"
)

func hostileContent(repo string) layouttest.Content {
	b := layouttest.New(repo)
	image := b.Image("hostile")
	b.Tag("v1", image)
	for _, name := range []string{escName, bidiName, lineName} {
		b.Referrer(image, name, name)
	}
	return b.Content()
}

// writeFolder writes content as a layout folder.
func writeFolder(content layouttest.Content, dir string) error {
	fsys, err := disk.Create(dir)
	if err != nil {
		return err
	}
	defer fsys.Close()
	w, err := layout.NewFolderWriter(dir, fsys)
	if err != nil {
		return err
	}
	return content.Load(context.Background(), w)
}

func scriptFolder(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 3)
	repo := "reg.example/team/app"
	if len(args) == 3 {
		repo = args[2]
	}
	content, err := contentNamed(args[0], repo)
	ts.Check(err)
	ts.Check(writeFolder(content, ts.MkAbs(args[1])))
}

// scriptPins writes what has to be pinned for the signatures of signedContent.
func scriptPins(ts *testscript.TestScript, _ bool, _ []string) {
	write := func(name string, data []byte, err error) {
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o644))
	}
	for name, seed := range map[string]string{"release.pub": "airgap test", "other.pub": "somebody else"} {
		data, err := signing.PublicKeyPEM(signing.InsecureKey(seed))
		write(name, data, err)
	}
	ca, err := signing.NewTestCA("airgap test root", signing.TestOptions{InsecureSeed: "root"})
	ts.Check(err)
	write("root.pem", signing.CertificatesPEM(ca.Certs...), nil)
}
