// Package bundle has the verbs of airgap: [Export] collects graphs into a
// bundle, [Open] reads one and proves it, [Import] brings it to a registry or a
// store, [Diff] compares two.
//
// A bundle is an OCI image layout in a tar of one canonical form, described in
// docs/format.md. In it travels an export record ([Record]): what was asked for,
// everything that is in the bundle, and what each repository answered when it
// was asked for attachments. [Bundle.Graph] makes the bundle anew from its
// content and compares, so that one changed bit outside blobs is found before
// anything is imported, and one inside a blob while that is copied.
//
// The verbs know sources and sinks as package layout defines them; which are
// behind them is for the caller to say. Nothing here prints, and nothing dials
// but through a source or sink that was given.
package bundle
