//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What the tools are called in tables.
const (
	nameAirgap = "airgap"
	nameCrane  = "crane"
	nameRegctl = "regctl"
	nameOras   = "oras"
	nameSkopeo = "skopeo"
	nameFloor  = "floor"
)

// peers writes the command lines of the tools: out of a registry and into one.
type peers struct {
	rig   *rig
	set   *set
	host  string // of the registry to read
	names []string
}

// out is where a tool's output goes.
func (p *peers) out(elem ...string) string {
	return p.rig.path(append([]string{"out"}, elem...)...)
}

// bin is the tool's path; the job is skipped if there is none.
func (p *peers) bin(j *job, name string) string {
	path, ok := p.rig.tool(name)
	if !ok {
		j.skip = name + " is not installed"
	}
	return path
}

func (p *peers) airgapExport() *job {
	list, bundle := p.out("airgap.list"), p.out("airgap.tar")
	return &job{
		name: nameAirgap, note: "the whole graph, one tar, all of it hashed; waits for the disk (fsync)", output: []string{bundle},
		before: func(context.Context) error {
			return os.WriteFile(list, []byte(strings.Join(references(p.host, p.names), "\n")+"\n"), 0o644)
		},
		commands: [][]string{{p.rig.airgap, "export", "-f", list, "-o", bundle, "--plain-http", "--quiet"}},
	}
}

// airgapImport brings the bundle into the registry at host.
func (p *peers) airgapImport(host string) *job {
	return &job{
		name: nameAirgap, note: "everything; the bundle is proven and every blob hashed",
		commands: [][]string{{p.rig.airgap, "import", p.out("airgap.tar"), "--to", host, "--insecure-skip-verify", "--plain-http", "--quiet"}},
	}
}

func (p *peers) craneExport() *job {
	j := &job{name: nameCrane, note: "images only, no attachments, into a folder; no fsync", output: []string{p.out("crane")}}
	args := append([]string{p.bin(j, "crane"), "pull", "--format", "oci"}, references(p.host, p.names)...)
	j.commands = [][]string{append(args, p.out("crane"))}
	return j
}

func (p *peers) craneImport(host string) *job {
	j := &job{name: nameCrane, note: "images only, all into one repository; checks nothing"}
	j.commands = [][]string{{p.bin(j, "crane"), "push", "--index", p.out("crane"), host + "/all/images:v1"}}
	return j
}

// regctlTag is what an image is called in regctl's folder, which knows tags only.
func regctlTag(name string) string { return strings.NewReplacer("/", "-", ":", "-").Replace(name) }

// regctlExport copies an image at a time, which is what regctl can. With tar, all
// go into one folder, so that what they share is kept once, and that into a tar;
// else there is a folder for each repository, because regctl looks at all that is
// in a folder whenever it adds to it.
func (p *peers) regctlExport(tar bool) *job {
	dir := p.out("regctl")
	j := &job{name: nameRegctl, note: "the whole graph, into a folder for each repository; no fsync", output: []string{dir}}
	for _, n := range p.names {
		repo, _ := splitTag(n)
		to := filepath.Join(dir, regctlTag(repo))
		if tar {
			to = dir
		}
		j.commands = append(j.commands, []string{
			p.bin(j, "regctl"), "--host", "reg=" + p.host + ",tls=disabled", "image", "copy", "--referrers", "--digest-tags",
			p.host + "/" + n, "ocidir://" + to + ":" + regctlTag(n),
		})
	}
	if tar {
		j.note = "the whole graph, into a folder, then tar; no fsync"
		j.output = append(j.output, dir+".tar")
		j.commands = append(j.commands, []string{p.bin(j, "tar"), "-cf", dir + ".tar", "-C", dir, "."})
	}
	return j
}

func (p *peers) regctlImport(host string) *job {
	j := &job{name: nameRegctl, note: "the whole graph, from the folder (the tar would have to be unpacked first)"}
	for _, n := range p.names {
		j.commands = append(j.commands, []string{
			p.bin(j, "regctl"), "--host", "reg=" + host + ",tls=disabled", "image", "copy", "--referrers", "--digest-tags",
			"ocidir://" + p.out("regctl") + ":" + regctlTag(n), host + "/" + n,
		})
	}
	return j
}

// orasExport backs up a repository at a time, which is what oras can.
func (p *peers) orasExport() *job {
	j := &job{name: nameOras, note: "referrers, but no cosign tags; a tar for each repository; no fsync", output: []string{p.out("oras")}}
	j.before = func(context.Context) error { return os.MkdirAll(p.out("oras"), 0o755) }
	repos, tags := (&set{Names: p.names}).repositories()
	for i, repo := range repos {
		j.commands = append(j.commands, []string{
			p.bin(j, "oras"), "backup", "--plain-http", "--no-tty", "--include-referrers",
			"--output", p.orasTar(i), p.host + "/" + repo + ":" + strings.Join(tags[repo], ","),
		})
	}
	return j
}

func (p *peers) orasTar(i int) string { return p.out("oras", fmt.Sprintf("%03d.tar", i)) }

func (p *peers) orasImport(host string) *job {
	j := &job{name: nameOras, note: "what its backups have"}
	repos, _ := (&set{Names: p.names}).repositories()
	for i, repo := range repos {
		j.commands = append(j.commands, []string{
			p.bin(j, "oras"), "restore", "--plain-http", "--no-tty", "--input", p.orasTar(i), host + "/" + repo,
		})
	}
	return j
}

func (p *peers) skopeoExport() *job {
	j := &job{name: nameSkopeo, note: "images only; a tar for each; syncs each blob, but not the tar", output: []string{p.out("skopeo")}}
	j.before = func(context.Context) error { return os.MkdirAll(p.out("skopeo"), 0o755) }
	for i, n := range p.names {
		j.commands = append(j.commands, []string{
			p.bin(j, "skopeo"), "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
			"docker://" + p.host + "/" + n, p.skopeoArchive(i),
		})
	}
	return j
}

func (p *peers) skopeoArchive(i int) string {
	return "oci-archive:" + filepath.Join(p.out("skopeo"), fmt.Sprintf("%03d.tar", i)) + ":image"
}

func (p *peers) skopeoImport(host string) *job {
	j := &job{name: nameSkopeo, note: "images only"}
	for i, n := range p.names {
		j.commands = append(j.commands, []string{
			p.bin(j, "skopeo"), "--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false",
			p.skopeoArchive(i), "docker://" + host + "/" + n,
		})
	}
	return j
}
