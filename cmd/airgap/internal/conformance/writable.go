package main

import (
	"context"
	"fmt"
	"strings"
)

// leastWritable is how many tests the suite has for a registry that it may write to, at
// least; it has 1032 with everything on, and 986 without sparse manifests.
const leastWritable = 980

// everything turns all on that a version of the specification leaves to the registry.
var everything = []string{
	"OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_BLOBS_MOUNT_ANONYMOUS=true",
	"OCI_API_BLOBS_ATOMIC=true", "OCI_API_BLOBS_DELETE=true",
	"OCI_API_MANIFESTS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_TAG_PARAM=true", "OCI_API_MANIFESTS_ATOMIC=true", "OCI_API_MANIFESTS_DELETE=true",
	"OCI_API_TAGS_ATOMIC=true", "OCI_API_TAGS_DELETE=true", "OCI_API_TAGS_LIST=true", "OCI_API_REFERRER=true",
	"OCI_DATA_SUBJECT=true", "OCI_DATA_SUBJECT_MISSING=true", "OCI_DATA_SUBJECT_LIST=true", "OCI_DATA_NONDISTRIBUTABLE=true",
	"OCI_DATA_EMPTY_BLOB=true", "OCI_DATA_SHA512=true",
}

// writable has the suite push everything, pull it and delete it again: by the released
// specification and by the next one, without manifests whose blobs are missing, as the
// registry is by default, and with them.
func (p *place) writable(ctx context.Context) error {
	for _, version := range []string{"1.1", "dev"} {
		for _, sparse := range []bool{false, true} {
			args := []string{"--store", "pushed", "--writable"}
			env := append([]string{"OCI_VERSION=" + version, fmt.Sprintf("OCI_DATA_SPARSE=%t", sparse)}, everything...)
			if sparse {
				args = append(args, "--allow-sparse")
			}
			said, ended, err := p.test(ctx, args, func(host string) []string {
				return append(env, "OCI_REGISTRY="+host, "OCI_TLS=disabled", "OCI_REPO1=ghcr.io/acme/one", "OCI_REPO2=reg.example_5000/team/two", "OCI_RESULTS_DIR=results")
			})
			if err != nil {
				return err
			}
			counts, err := summary(said, leastWritable)
			fmt.Printf("specification %s, sparse manifests %t: %s", version, sparse, counts)
			if err == nil && ended != nil {
				err = fmt.Errorf("the suite ended with %w", ended)
			}
			if err == nil {
				err = allPassed(said, sparse)
			}
			if err != nil {
				return fmt.Errorf("%w\n%s", err, said)
			}
		}
	}
	return nil
}

// allPassed fails if the suite left out an API or a kind of content, or if a line of its
// tables says anything but that it passed.
func allPassed(said []byte, sparse bool) error {
	_, tables, ok := strings.Cut(string(said), "API conformance:\n")
	if !ok {
		return fmt.Errorf("the suite gave no table of what it tested")
	}
	lines := 0
	for line := range strings.Lines(tables) {
		what, status, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.TrimSpace(status) == "" {
			continue // a headline
		}
		lines++
		if name := strings.Trim(what, " ."); strings.TrimSpace(status) != "Pass" && (sparse || name != "Sparse Manifests") {
			return fmt.Errorf("%s: %s", name, strings.TrimSpace(status))
		}
	}
	if lines < leastLines {
		return fmt.Errorf("the suite tested only %d APIs and kinds of content", lines)
	}
	return nil
}

// leastLines is how many APIs and kinds of content the suite tells of, at least.
const leastLines = 50
