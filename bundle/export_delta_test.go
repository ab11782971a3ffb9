package bundle

import "airgap/layout"

// ForgeRecord makes the export record of g with any delta in it.
func ForgeRecord(g *layout.Graph, d *RecordDelta) ([]layout.Content, error) {
	r := newRecord(g)
	r.Delta = d
	return r.artifact(nil)
}
