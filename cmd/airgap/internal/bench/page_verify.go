//go:build unix

package main

import "fmt"

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
	wall, _ := v.Import.paired(nameJudged, nameUnjudged, wallOf)
	cpu, _ := v.Import.paired(nameJudged, nameUnjudged, cpuOf)
	b.line("Pair by pair, judging took %.3f × the wall time and %.3f × the CPU time (medians).", wall, cpu)
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
