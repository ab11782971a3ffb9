// Package interop has no code of its own: its tests, behind the build tag
// "interop", run the airgap program and the tools that it has to get along with
// against each other. "make interop" installs those and runs the tests.
//
// The tests want root on Debian for linux/amd64, for they start registries,
// containerd and dockerd themselves, some of them on a network of their own.
// Everything they start listens on loopback or in a temporary folder and ends with
// them. A tool that is missing is a failure; with AIRGAP_INTEROP_ALLOW_MISSING set,
// the tests that need it are skipped instead.
//
// AIRGAP_BIN names the program, AIRGAP_TOOLS the folder of the peers that are
// built from source.
package interop
