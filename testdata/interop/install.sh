#!/usr/bin/env bash
# Installs the tools that the interop tests run against.
#
#   testdata/interop/install.sh
#
# Debian packages come from apt-get (only those that are missing; needs root or
# sudo), the Go tools are built at pinned versions into $AIRGAP_TOOLS (default:
# "$(go env GOPATH)/airgap-tools/bin"). Running it again does nothing when
# everything is there already. The last line of standard output is the folder
# that holds the Go tools.
#
# AIRGAP_SKIP_APT=1 leaves the Debian packages alone; names of Go tools as
# arguments ("crane oras") build only those.
set -euo pipefail

# A toolchain is never downloaded: the pins below build with the project's Go.
export GOTOOLCHAIN=local
export CGO_ENABLED=0
export GOWORK=off
export GOFLAGS="-buildvcs=false -trimpath"
unset GOBIN GOOS GOARCH GOEXPERIMENT || true

gopath="$(go env GOPATH)"
bin="${AIRGAP_TOOLS:-${gopath%%:*}/airgap-tools/bin}"
tmp="$(mktemp -d)"
trap 'rm -rf "$tmp"' EXIT

# name (with a folder, if it would be in the way of a Debian one), package, module,
# version, build tags if any
go_tools="
crane    github.com/google/go-containerregistry/cmd/crane github.com/google/go-containerregistry v0.22.1
oras     oras.land/oras/cmd/oras                          oras.land/oras                          v1.3.6
regctl   github.com/regclient/regclient/cmd/regctl        github.com/regclient/regclient          v0.11.7
registry github.com/distribution/distribution/v3/cmd/registry github.com/distribution/distribution/v3 v3.1.2
notation github.com/notaryproject/notation/cmd/notation   github.com/notaryproject/notation       v1.3.2
cosign   github.com/sigstore/cosign/v3/cmd/cosign         github.com/sigstore/cosign/v3           v3.1.3
crictl   sigs.k8s.io/cri-tools/cmd/crictl                 sigs.k8s.io/cri-tools                   v1.34.0
containerd2/containerd github.com/containerd/containerd/v2/cmd/containerd github.com/containerd/containerd/v2 v2.4.2
containerd2/ctr github.com/containerd/containerd/v2/cmd/ctr github.com/containerd/containerd/v2 v2.4.2
containerd2/containerd-shim-runc-v2 github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2 github.com/containerd/containerd/v2 v2.4.2
docker29/dockerd github.com/moby/moby/v2/cmd/dockerd github.com/moby/moby/v2 v2.0.0-beta.24 exclude_graphdriver_btrfs
"

# command, Debian package
deb_tools="
skopeo          skopeo
docker-registry docker-registry
containerd      containerd
dockerd         docker.io
podman          podman
ip              iproute2
bsdtar          libarchive-tools
jq              jq
xz              xz-utils
bzip2           bzip2
python3         python3
"

log() { printf '%s\n' "install: $*" >&2; }

install_debs() {
	local command package missing=() sudo=()
	while read -r command package; do
		[ -n "$command" ] || continue
		command -v "$command" >/dev/null 2>&1 || missing+=("$package")
	done <<<"$deb_tools"
	if [ "${#missing[@]}" -eq 0 ]; then
		return
	fi
	if ! command -v apt-get >/dev/null 2>&1; then
		log "no apt-get here; install these yourself: ${missing[*]}"
		return 1
	fi
	if [ "$(id -u)" -ne 0 ]; then
		sudo=(sudo)
	fi
	log "apt-get install ${missing[*]}"
	"${sudo[@]}" apt-get update -q >&2
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}

# built FILE MODULE VERSION: is FILE a binary of MODULE at VERSION, either as
# its main module ("mod") or as the dependency of a wrapper module ("dep")?
built() {
	[ -x "$1" ] || return 1
	go version -m "$1" 2>/dev/null |
		awk -v m="$2" -v v="$3" '($1 == "mod" || $1 == "dep") && $2 == m && $3 == v { ok = 1 } END { exit !ok }'
}

install_go() {
	local name="$1" package="$2" module="$3" version="$4" tags="${5:-}"
	if built "$bin/$name" "$module" "$version"; then
		log "$name $version is there"
		return
	fi
	log "building $name $version"
	if GOBIN="$(dirname "$bin/$name")" nice -n 15 go install -tags="$tags" -ldflags="-s -w" "$package@$version"; then
		return
	fi
	# "go install pkg@version" refuses a go.mod with replace directives and wants
	# the module's list of versions: build it from a module of our own instead.
	log "$name: go install failed; building it from a wrapper module"
	(
		mkdir -p "$tmp/$name"
		cd "$tmp/$name"
		go mod init wrapper
		go get "$package@$version"
		nice -n 15 go build -tags="$tags" -ldflags="-s -w" -o "$bin/$name" "$package"
	)
}

if [ -z "${AIRGAP_SKIP_APT:-}" ]; then
	install_debs
fi

mkdir -p "$bin"
while read -r name package module version tags; do
	[ -n "$name" ] || continue
	if [ "$#" -gt 0 ] && [[ " $* " != *" $name "* ]]; then
		continue
	fi
	install_go "$name" "$package" "$module" "$version" "$tags"
done <<<"$go_tools"

printf '%s\n' "$bin"
