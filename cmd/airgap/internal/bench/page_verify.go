//go:build unix

package main

import (
	"fmt"
	"time"
)

// Titles of the sections, by which they are found again.
const (
	titleVerify = "What verification costs"
	titleJudge  = "Many signatures"
)

func (b *page) verify(v *verifyResult) {
	if v == nil {
		return
	}
	b.line("## " + titleVerify)
	b.line("")
	b.line("The bundle of the images above (%s MB of layers) into a store, with a policy and without one. Of each image", megabytes(v.Set.Layers))
	b.line("a Notary signature, two of cosign's forms and the one on its SBOM are judged: %d in all. The two ran one right", verifyPerImage*len(v.Set.Names))
	b.line("after the other, %d times, with either of them first in turn.", len(v.Import[0].Runs))
	b.line("")
	b.compare(v.Import, nameUnjudged, "", nil)
	for _, c := range []struct {
		name string
		cost func(sample) time.Duration
	}{{"wall time", wallOf}, {"CPU time", cpuOf}} {
		quick, _ := v.Import.undisturbed(nameJudged, nameUnjudged, c.cost)
		low, mid, high, _ := v.Import.paired(nameJudged, nameUnjudged, c.cost)
		b.line("- %s, judged against not: %.3f × between the lower quartiles, which other work on the machine reaches least;", c.name, quick)
		b.line("  pair by pair %.3f × in the median, %.3f to %.3f × between the quartiles.", mid, low, high)
	}
	b.line("")
}

func (b *page) judge(j *judgeResult) {
	if j == nil {
		return
	}
	b.line("## " + titleJudge)
	b.line("")
	b.line("%d images with %d signatures each, no two alike, judged in one process from memory, every signature of an", j.Images, judgePerImage)
	b.line("image. \"Faster\" is against one processor; the last kind says what this machine can do at best.")
	b.line("")
	b.table("signatures|judged|processors|wall|CPU|CPU µs each|a second|faster", func(row func(...string)) {
		for _, r := range j.Rates {
			faster := ""
			if one, ok := j.find(r.Kind, judgeProcessors[0]); ok && r.Processors != one.Processors {
				faster = times(r.perSecond() / one.perSecond())
			}
			row(r.Kind, itoa(r.Signatures), itoa(r.Processors), seconds(r.Wall), seconds(r.CPU),
				fmt.Sprintf("%.0f", float64(r.CPU.Microseconds())/float64(r.Signatures)), fmt.Sprintf("%.0f", r.perSecond()), faster)
		}
	})
}
