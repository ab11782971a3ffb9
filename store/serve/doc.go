// Package serve is a registry that gives and does not take: the pull and content
// discovery parts of the OCI Distribution specification 1.1, over anything that is
// a [Content]. A store is one ([airgap/store.View]), the proven graph of a bundle
// another ([FromGraph]).
//
// [New] makes the handler, [Run] serves it until it is told to stop.
//
// # Names
//
// Repositories are kept under the names they had at their source, registry and
// all. They are found
//
//   - under that name: /v2/ghcr.io/acme/app/… A port is written with an underscore,
//     since the grammar of names has no colon: /v2/reg.example_5000/team/app/…
//   - under the source's own path, if the client says in ns which registry it means,
//     as containerd does of a mirror: /v2/acme/app/…?ns=ghcr.io
//   - under docker.io, if the first element can be no registry, as docker does of
//     its mirror: /v2/library/nginx/…
//
// # Guarantees
//
// Nothing is looked up for a request that is outside the grammar of paths, names,
// tags and digests; percent-encoding is, but for the colon of a digest.
//
// A manifest is hashed whenever it is sent. A blob is sent if its file has the size
// it should have; whoever asked for it knows its digest, and clients check that. With
// [VerifyOnce] or [VerifyAlways] it is hashed, to its end, before its first byte goes
// out, and damage is answered with 500.
//
// Memory does not grow with the size of blobs. A client that takes nothing for
// stallTime is cut off.
//
// # What it does not do
//
// It takes nothing: what writes is answered with 405. It knows no users.
package serve
