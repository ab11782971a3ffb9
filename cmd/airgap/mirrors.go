package main

import (
	"fmt"
	"strings"

	"airgap/store/serve"
)

// mirrorsFor makes the configuration of each client, and says what else there is to
// know. Where a client can be kept from asking the registry itself, it is: an answer
// of "not found" is worth more than the wait for a network that is not there, and
// nobody else gets to give an image that serve did not admit.
var mirrorsFor = map[string]func(*mirrorsOptions) ([]mirrorFile, []string){
	"containerd": (*mirrorsOptions).containerd, "docker": (*mirrorsOptions).docker,
	"podman": (*mirrorsOptions).podman, "k3s": (*mirrorsOptions).k3s, "openshift": (*mirrorsOptions).openshift,
}

func (o *mirrorsOptions) url() string {
	if o.https {
		return "https://" + o.listen
	}
	return "http://" + o.listen
}

// pathHost is a registry as the first element of a path; "" if none can be it.
func pathHost(host string) string {
	first, _, _ := strings.Cut(serve.Name(host+"/x/y"), "/")
	return first
}

// containerd sends the registry in ns, since v1.5. The mirror is the server too, so
// that the registry itself is not asked; it stands under host all the same, since v1.6
// takes a file without host for broken, and goes on without it.
func (o *mirrorsOptions) containerd() ([]mirrorFile, []string) {
	what := "capabilities = [\"pull\", \"resolve\"]\n"
	if o.ca != "" {
		what += fmt.Sprintf("ca = %q\n", o.ca)
	}
	text := fmt.Sprintf("server = %q\n%s\n[host.%q]\n%s", o.url(), what, o.url(), what)
	var out []mirrorFile
	for _, h := range o.hosts {
		out = append(out, mirrorFile{"/etc/containerd/certs.d/" + h + "/hosts.toml", text})
	}
	return out, []string{
		"the same text as /etc/containerd/certs.d/_default/hosts.toml is for every registry that has no file",
		"containerd reads them, each time, if /etc/containerd/config.toml says so; restart it after a change there:",
		`  1.x: [plugins."io.containerd.grpc.v1.cri".registry]`,
		`  2.x: [plugins."io.containerd.cri.v1.images".registry]`,
		`  both:   config_path = "/etc/containerd/certs.d"`,
		"ctr does not go by that: ctr images pull --hosts-dir /etc/containerd/certs.d …",
	}
}

func (o *mirrorsOptions) docker() ([]mirrorFile, []string) {
	body := fmt.Sprintf("{\n  \"registry-mirrors\": [%q]", o.url())
	if !o.https {
		body += fmt.Sprintf(",\n  \"insecure-registries\": [%q]", o.listen)
	}
	var remarks []string
	for _, h := range o.hosts {
		switch first := pathHost(h); {
		case h == "docker.io":
		case first == "":
			remarks = append(remarks, fmt.Sprintf("docker has no mirrors of %s, and its name cannot be in a path: its images cannot be pulled in this way", h))
		default:
			remarks = append(remarks, fmt.Sprintf("docker has no mirrors of %s: pull its images as %s/%s/…", h, o.listen, first))
		}
	}
	if o.ca != "" {
		remarks = append(remarks, fmt.Sprintf("copy %s to /etc/docker/certs.d/%s/ca.crt", o.ca, o.listen))
	}
	return []mirrorFile{{"/etc/docker/daemon.json", body + "\n}\n"}}, append(remarks,
		"systemctl reload docker after a change; what is not here docker then asks of docker.io",
		"with the image store of containerd, as new installations of Docker 29 have it, do this instead, for every registry:",
		"  what airgap mirrors --for containerd prints, below /etc/docker/certs.d in place of /etc/containerd/certs.d",
	)
}

// podman knows no ns: the registry goes into the path. As its location, and not as a
// mirror of it, this is all that is asked.
func (o *mirrorsOptions) podman() ([]mirrorFile, []string) {
	var b strings.Builder
	for i, h := range o.hosts {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "[[registry]]\nprefix = %q\nlocation = %q\n", h, o.listen+"/"+pathHost(h))
		if !o.https {
			b.WriteString("insecure = true\n")
		}
	}
	var remarks []string
	if o.ca != "" {
		remarks = append(remarks, fmt.Sprintf("copy %s to /etc/containers/certs.d/%s/ca.crt", o.ca, o.listen))
	}
	return []mirrorFile{{"/etc/containers/registries.conf.d/airgap.conf", b.String()}}, append(remarks,
		"podman, skopeo and buildah read it each time; systemctl reload crio after a change",
	)
}

func (o *mirrorsOptions) k3s() ([]mirrorFile, []string) {
	var b strings.Builder
	b.WriteString("mirrors:\n")
	for _, h := range o.hosts {
		fmt.Fprintf(&b, "  %q:\n    endpoint:\n      - %q\n", h, o.url())
	}
	if o.ca != "" {
		fmt.Fprintf(&b, "configs:\n  %q:\n    tls:\n      ca_file: %q\n", o.listen, o.ca)
	}
	return []mirrorFile{{"/etc/rancher/k3s/registries.yaml", b.String()}}, []string{
		"for RKE2 it is /etc/rancher/rke2/registries.yaml",
		"restart k3s after a change; with --disable-default-registry-endpoint it asks nobody else",
	}
}

// openshiftMirrors has a set of mirrors for pulls by digest, and one for those by tag.
const openshiftMirrors = `apiVersion: config.openshift.io/v1
kind: %s
metadata:
  name: airgap
spec:
  %s:
%s`

// openshift hands the sets to CRI-O on the nodes, which goes by paths as podman does.
func (o *mirrorsOptions) openshift() ([]mirrorFile, []string) {
	var b strings.Builder
	for _, h := range o.hosts {
		fmt.Fprintf(&b, "    - source: %q\n      mirrors:\n        - %q\n      mirrorSourcePolicy: NeverContactSource\n", h, o.listen+"/"+pathHost(h))
	}
	text := fmt.Sprintf(openshiftMirrors, "ImageDigestMirrorSet", "imageDigestMirrors", b.String()) + "---\n" +
		fmt.Sprintf(openshiftMirrors, "ImageTagMirrorSet", "imageTagMirrors", b.String())
	return []mirrorFile{{"airgap-mirrors.yaml", text}}, append([]string{
		"oc apply -f airgap-mirrors.yaml; each node takes it over, and is drained for the ImageTagMirrorSet",
	}, o.openshiftTrust()...)
}

// openshiftTrust says how nodes come to trust serve, before they are told of it.
func (o *mirrorsOptions) openshiftTrust() []string {
	const edit = "oc edit image.config.openshift.io/cluster: "
	switch {
	case !o.https:
		return []string{edit + "add " + o.listen + " to spec.registrySources.insecureRegistries"}
	case o.ca == "":
		return nil
	}
	return []string{
		"before that, unless spec.additionalTrustedCA in image.config.openshift.io/cluster names a map already, which then gets the key:",
		// A key of a ConfigMap has no colon; this is how the operator wants a port.
		"  oc create configmap airgap-ca -n openshift-config --from-file=" + strings.ReplaceAll(o.listen, ":", "..") + "=" + o.ca,
		"  " + edit + "spec.additionalTrustedCA.name is airgap-ca",
	}
}
