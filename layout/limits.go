package layout

// Limits on what is accepted from a registry, a bundle or a folder. Each is far
// beyond what honest content needs and small enough to refuse a hostile one
// before it costs much.
const (
	// MaxManifestBytes is the largest manifest or index that is read
	// (OCI distribution-spec 1.1, "Pushing Manifests", asks registries for
	// 4 MiB at least; the common ones enforce it as a maximum).
	MaxManifestBytes = 4 << 20
	// MaxBlobBytes is the largest blob: 16 TiB. It keeps every sum of sizes
	// in a plan far from overflowing 63 bits.
	MaxBlobBytes = 16 << 40
	// MaxIndexBytes is the largest index.json of a layout. One of ours
	// lists every attached manifest, at about 300 bytes each.
	MaxIndexBytes = 512 << 20
	// MaxManifests is how many manifests one graph may hold.
	MaxManifests = 1 << 20
	// MaxDepth is how long a chain of index → child and subject → attached
	// may be.
	MaxDepth = 64
	// MaxAttached is how many manifests may be attached to one subject in
	// one repository by one form.
	MaxAttached = 10_000
	// MaxDescriptors is how many descriptors one manifest may list.
	MaxDescriptors = 20_000
	// MaxManifestsAtOnce is how many bytes of manifests are fetched, parsed or sent at
	// once, however many are under way: read, one takes several times its size.
	MaxManifestsAtOnce = 16 << 20
	// MaxManifestsKept is how many bytes of manifests a walk keeps in memory; it reads
	// what is beyond that from the source again.
	MaxManifestsKept = 64 << 20
	// MaxJSONDepth is how deeply JSON may nest.
	MaxJSONDepth = 64
	// MaxTarEntries is how many entries a bundle may have, and how many
	// descriptors the manifests of one graph may list together.
	MaxTarEntries = 8 << 20
)
