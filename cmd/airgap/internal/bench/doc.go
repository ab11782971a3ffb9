//go:build unix

// Command bench compares airgap with other tools that carry images, side by side
// on one machine and in one run, and writes docs/benchmarks.md.
//
//	go run ./cmd/airgap/internal/bench -o docs/benchmarks.md
//
// It runs whole commands, as a user would, several times each, in turn (A B C A B
// C …) after a round that does not count, and reports medians. Wall time, CPU
// time and peak memory of a command are what the system says of the finished
// process; see package timed for how. Before each command everything written so
// far is brought to the disk; afterwards it is measured how long the disk needs
// for what the command wrote, because some tools wait for that and some do not.
//
// The workloads:
//
//   - main: images made of real files, signed in every form, from one registry
//     to the disk, and from there into an empty registry and into a store.
//   - latency: many small images in a registry that answers 50 ms late.
//   - head: a bundle of 100 GB, looked at and judged.
//   - scale: up to 100,000 manifests.
//   - verify: what judging by a policy adds to an import, in pairs of runs.
//   - judge: 10,000 signatures, in one process.
//   - delta: a bundle of what has changed.
//   - serve: clients that pull from serve over a store, and push to it, beside
//     distribution's registry. The clients are this program, on loopback.
//
// -only picks some of them; the rest of the page then stays as it is, and what is
// new says which run it is from.
//
// Registries are processes started here, on loopback addresses, with their
// content in the working folder, which is the same file system for all. Source
// registries stay there between runs.
//
// The page is generated but for the text between its two markers, which is
// written by hand and kept.
package main
