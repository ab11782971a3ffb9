# make          builds bin/airgap
# make demo     the main job, told step by step; needs nothing but Go
# make test     all tests
# make check    what a change has to pass: format, vet, staticcheck, race tests, known vulnerabilities
# make large    a blob of 20 GiB through export, inspect and import; some minutes
# make interop  this tool and its peers against each other; installs the peers (as root, on Debian)
# make conformance  the official suite of the OCI Distribution specification against serve, read-only and writable
# make bench    this tool and its peers side by side; writes docs/benchmarks.md;
#               BENCH="-only verify,judge" for parts of it

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
CONFORMANCE := github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111

.PHONY: all build demo test check race lint vuln large interop conformance bench clean

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/airgap ./cmd/airgap

demo: build
	$(GO) run ./cmd/airgap/internal/demo bin/airgap

test:
	$(GO) test -timeout 20m ./...

check: lint race vuln

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt -w these:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags interop ./...
	$(GO) run $(STATICCHECK) ./...

race:
	$(GO) test -race -timeout 45m ./...

# The list of known vulnerabilities is not reachable from everywhere.
vuln:
	@out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1); code=$$?; echo "$$out"; \
	if [ $$code -ne 0 ] && echo "$$out" | grep -q 'fetching vulnerabilities'; then \
		echo "govulncheck: its data cannot be reached from here; not checked"; exit 0; fi; exit $$code

large:
	AIRGAP_LARGE_GIB=20 $(GO) test -count=1 -timeout 30m -run TestBlobBeyond8GiB -v ./bundle

interop: build
	testdata/interop/install.sh
	$(GO) test -tags interop -count=1 -timeout 40m -v ./cmd/airgap/internal/interop
	$(GO) test -tags interop -count=1 -run ContainersImage -v ./verify/policy

conformance: build
	GOBIN=$(CURDIR)/bin/suite $(GO) install $(CONFORMANCE)
	$(GO) run ./cmd/airgap/internal/conformance bin/airgap bin/suite/conformance

bench: build
	testdata/interop/install.sh crane oras regctl registry skopeo
	$(GO) run ./cmd/airgap/internal/bench -o docs/benchmarks.md $(BENCH)

clean:
	rm -rf bin
