package layout

// Media types of manifests that can be carried, and of what they hold.
const (
	MediaTypeIndex            = "application/vnd.oci.image.index.v1+json"
	MediaTypeManifest         = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeDockerList       = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerManifest   = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeArtifactManifest = "application/vnd.oci.artifact.manifest.v1+json"
	MediaTypeORASManifest     = "application/vnd.cncf.oras.artifact.manifest.v1+json"
	MediaTypeDockerSchema1    = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeDockerSchema1Sig = "application/vnd.docker.distribution.manifest.v1+prettyjws"

	MediaTypeEmpty        = "application/vnd.oci.empty.v1+json"
	MediaTypeImageConfig  = "application/vnd.oci.image.config.v1+json"
	MediaTypeDockerConfig = "application/vnd.docker.container.image.v1+json"
	MediaTypeDockerLayer  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	MediaTypeDockerTar    = "application/vnd.docker.image.rootfs.diff.tar"
)

// Annotations with a meaning to airgap.
const (
	AnnotationRefName         = "org.opencontainers.image.ref.name"
	AnnotationContainerdName  = "io.containerd.image.name"
	AnnotationBuildKitType    = "vnd.docker.reference.type"
	AnnotationBuildKitSubject = "vnd.docker.reference.digest"
	BuildKitAttestation       = "attestation-manifest"

	// annotationTag holds the full name of a cosign tag in an index.json of
	// ours. The annotations above would make ctr take what it names for an
	// image, and fail to unpack it.
	annotationTag = "vnd.airgap.tag"
)

// ManifestTypes are the media types to accept from a registry, best first.
var ManifestTypes = []string{
	MediaTypeIndex, MediaTypeManifest, MediaTypeDockerList, MediaTypeDockerManifest,
	MediaTypeArtifactManifest, MediaTypeORASManifest,
}

// IsIndex says whether mediaType lists other manifests.
func IsIndex(mediaType string) bool {
	return mediaType == MediaTypeIndex || mediaType == MediaTypeDockerList
}

// IsManifest says whether mediaType is a manifest or an index.
func IsManifest(mediaType string) bool {
	for _, m := range ManifestTypes {
		if mediaType == m {
			return true
		}
	}
	return false
}

// IsSchema1 says whether mediaType is a manifest of docker's schema 1. Such a manifest is
// no manifest here (see [IsManifest]): its layers are not pinned by size, and its digest
// leaves out its signatures. An index may list one, which is carried as a blob.
func IsSchema1(mediaType string) bool {
	return mediaType == MediaTypeDockerSchema1 || mediaType == MediaTypeDockerSchema1Sig
}

// IsForeign says whether a layer was, by its media type, never meant to be in the
// registry.
func IsForeign(mediaType string) bool { return isForeign(mediaType) }

// isForeign says whether a layer was, by its media type, never meant to be in
// the registry (image-spec, "Non-Distributable Layers", now deprecated).
func isForeign(mediaType string) bool {
	switch mediaType {
	case "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd":
		return true
	}
	return false
}
