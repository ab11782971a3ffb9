package main

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"airgap/layout"
)

// What other tools write before a reference is dropped.
func TestReferenceWithScheme(t *testing.T) {
	t.Chdir(t.TempDir())
	for in, want := range map[string]string{
		"docker://reg.example/team/app:1": "reg.example/team/app:1", "docker://nginx": "docker.io/library/nginx:latest",
		"oci://reg.example/charts/app:1": "reg.example/charts/app:1", "oci://reg.example:5000/a@" + someDigest: "reg.example:5000/a:latest@" + someDigest,
	} {
		got, err := parseTarget(in)
		want = strings.Replace(want, ":latest@", "@", 1)
		if err != nil || got.kind != inRegistry || got.ref.String() != want || got.hostless != (in == "docker://nginx") {
			t.Errorf("parseTarget(%q) = %+v, %v, want %s", in, got, err, want)
		}
	}
	if got, err := parseTarget("oci:///srv/layout#v1"); err != nil || got.kind != inBundle || got.path != "///srv/layout" {
		t.Errorf("a path behind oci: = %+v, %v", got, err)
	}
}

// A form that is not read is refused, and the right one named.
func TestFormsRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	for in, want := range map[string]string{
		"https://ghcr.io/acme/app:1.4":                         "write ghcr.io/acme/app:1.4",
		"http://localhost:5000/a:1":                            "--plain-http",
		"HTTPS://ghcr.io/acme/app":                             "write ghcr.io/acme/app:latest",
		"https://hub.docker.com/_/nginx":                       "write docker.io/library/nginx:TAG",
		"https://hub.docker.com/r/grafana/grafana/tags?page=1": "write docker.io/grafana/grafana:TAG",
		"https://quay.io/repository/prometheus/node-exporter":  "write quay.io/prometheus/node-exporter:TAG",
		"https://example.com/bundle.tar":                       "download",
		"https://":                                             "a target is a reference",
		"docker-archive:app.tar:app:1":                         "bundle:FILE",
		"oci-archive:app.tar":                                  "bundle:FILE",
		"docker-daemon:app:1":                                  "docker save",
		"containers-storage:app":                               "podman save",
		"dir:/srv/app":                                         "skopeo copy",
		"ftp://x/y":                                            "a target is a reference",
	} {
		got, err := parseTarget(in)
		if !errors.Is(err, errUsage) || !strings.Contains(layout.Hint(err)+adviceOf(err), want) {
			t.Errorf("parseTarget(%q) = %+v, %v (%s), want usage and %q", in, got, err, adviceOf(err), want)
		}
		if _, err := parseLocal(in); strings.Contains(in, "://") && !errors.Is(err, errUsage) {
			t.Errorf("parseLocal(%q) = %v, want usage", in, err)
		}
	}
	if _, err := parseLocal("docker://reg.example/a:1"); !errors.Is(err, errUsage) || !strings.Contains(adviceOf(err), "airgap export docker://") {
		t.Errorf("a reference where a bundle is wanted: %v", err)
	}
}

func adviceOf(err error) string {
	var a *adviceError
	if errors.As(err, &a) {
		return a.advice
	}
	return ""
}

// Bare names that end as archives do are files.
func TestArchiveNamesAreFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tgz", "a.tar.zst", "a.tar.xz", "a.txz", "a.tar.bz2", "a.tar.partial"} {
		if got, err := parseTarget(name + "#v1"); err != nil || got.kind != inBundle || got.path != name || got.name != "v1" {
			t.Errorf("parseTarget(%q) = %+v, %v", name, got, err)
		}
	}
}

// A list may be in any form in which editors and shells write text.
func TestListEncodings(t *testing.T) {
	t.Chdir(t.TempDir())
	const text = "# größe\r\nreg.example/a:1\r\n\r\ndocker://reg.example/b:2 # ünd\r\n"
	wide := func(big bool, text string) string {
		var b strings.Builder
		for _, u := range utf16.Encode([]rune(text)) {
			hi, lo := byte(u>>8), byte(u)
			if !big {
				hi, lo = lo, hi
			}
			b.WriteByte(hi)
			b.WriteByte(lo)
		}
		return b.String()
	}
	for what, data := range map[string]string{
		"UTF-8": text, "UTF-8 with a mark": "\ufeff" + text, "UTF-16LE with a mark": wide(false, "\ufeff"+text), "UTF-16BE with a mark": wide(true, "\ufeff"+text),
		"UTF-16LE": wide(false, text), "UTF-16BE": wide(true, text),
	} {
		got, err := parseList(what, strings.NewReader(data))
		if err != nil || len(got) != 2 || got[0].String() != "reg.example/a:1" || got[1].String() != "reg.example/b:2" {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	for what, data := range map[string]string{"nothing": "", "a byte": "\n", "a mark": "\ufeff"} {
		if got, err := parseList(what, strings.NewReader(data)); err != nil || len(got) != 0 {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	if _, err := parseList("web.txt", strings.NewReader("reg.example/a:1\nhttps://reg.example/b:2\n")); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "web.txt:2") {
		t.Errorf("a URL in a list: %v", err)
	}
}
