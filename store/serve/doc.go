// Package serve is a registry: the OCI Distribution specification 1.1 over anything that
// is a [Content]. A store is one ([airgap/store.View]), the proven graph of a bundle
// another ([FromGraph]). It takes what is pushed if there is a
// [airgap/store/push.Pusher]; else it only gives.
//
// [New] makes the handler, [Run] serves it until it is told to stop. Who may do what is
// for [airgap/store/serve/access] to say; which right a request needs stands in one table
// (actions.go), and it is asked for in one place, before anything is looked up: a refusal
// is the same whether there is something or not. Without a Guard everybody may do
// everything. [airgap/store/serve/metrics] counts.
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
// Memory does not grow with the size of blobs. A client that takes nothing, or sends
// nothing, for stallTime is cut off.
//
// # Pushing
//
// An upload belongs to whoever began it, in its repository, and goes on for as long as
// somebody asks for it; one of which nothing is heard expires. They are lost when the
// server stops. One request at a time is about an upload. A part of which the client
// says where it belongs has to be the next one, else 416 says where to go on.
//
// A manifest that is kept and not given out yet is answered with 201 and a Warning header
// that says why; whoever may push to its repository, and has a name, sees it. Manifests
// of a repository that nobody has admitted come with the header Airgap-Admitted: false.
package serve
