// Package enclave holds the use cases of the isolated side: what decides whether a store
// serves an image, and what its ledger says of that.
//
// Start with [Reverify], which judges a whole store again, and [Admission], which judges
// what clients push while the store is served. Both judge all that a policy's rules are
// for, quarantine what does not pass, release what passes again, and enter every change in
// the ledger in the same transaction as the change itself.
//
// Guaranteed: nothing is served that did not pass, unless it was imported without a policy
// or pushed without [Admission]; what cannot be checked does not pass; a store and its
// ledger never disagree, whenever the process is stopped. Not guaranteed: that what was
// pulled before is called back.
//
// The package sits on three others: bundle has the verbs and the records, verify the
// verdicts, store the content, the quarantine and the ledger.
package enclave
