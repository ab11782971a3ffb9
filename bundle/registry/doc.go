// Package registry reads from and writes to OCI registries: any registry, any
// repository, with credentials from where docker and podman keep them.
//
// [New] makes a [Client], which is a layout.Source, a layout.Sink and a
// layout.Mounter at once. A repository is named in full, as in
// "ghcr.io/acme/app"; "docker.io/…" is asked at registry-1.docker.io.
//
// # As a source
//
// A name is resolved with one request, and the manifest that came back is kept
// until it is opened, so nothing is asked twice. Whatever is opened is checked
// against its descriptor before it ends in EOF. A blob whose connection is lost
// goes on from the byte it had reached.
//
// [Client.Attached] puts five questions: the referrers API, the index under the
// tag sha256-<hex> that clients keep where the API is missing, and the three
// tags of cosign. "Not found" is the only answer that means "nothing": a
// refusal, a fault or silence is an error, for a signature must never be lost
// because a registry had a bad minute.
//
// # As a sink
//
// Blobs take two requests, manifests one, by digest. Nothing is visible under a
// name until [Client.Commit], which first sees to it that every manifest with a
// subject is found from its subject, in the way the registry supports, then
// writes cosign's tags, then all other tags.
//
// Where the registry has no referrers API the fallback index is read, merged
// and written back (distribution-spec 1.1, "Unavailable Referrers API"). The
// specification has no conditional write, so two writers can undo each other.
// Writers of one user on one host take turns by a lock file. A writer elsewhere is
// noticed, because all indexes are read again after all were written, and twice
// more, with pauses, after the names, and what it undid is repaired; what it does
// after that can not be seen. Where a server gives an ETag, the write
// is conditional on it.
//
// # Secrets
//
// A credential is sent to the registry it is for, and to the token service
// which that registry names, over https; plain http is for loopback addresses
// and for [Options.PlainHTTP]. It does not follow redirects to another origin.
// Foreign-layer urls in descriptors are never used. Error texts carry URLs
// without user, password and query, for signed URLs are secrets too.
//
// # Faults
//
// Requests that can be repeated are, with growing pauses or those the registry
// asks for, a bounded number of times. All traffic goes through the one
// [Options.Transport], which is where tests inject faults.
package registry
