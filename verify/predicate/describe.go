package predicate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Describe is what a predicate says in a few words, for people: the builder and
// source of a build, what an SBOM lists, what a scan found. Empty if it is of no
// known kind or shape. The words are those of whoever signed it.
func Describe(predicateType string, raw []byte) string {
	switch KindOf(predicateType) {
	case Provenance:
		return describeBuild(ParseBuild(predicateType, raw))
	case SBOM:
		return describeSBOM(raw)
	case Scan:
		return describeScan(raw)
	case VEX:
		return describeVEX(raw)
	case Summary:
		return describeSummary(raw)
	}
	return ""
}

func describeBuild(b *Build) string {
	if b == nil {
		return ""
	}
	var parts []string
	if b.Builder != "" {
		parts = append(parts, "built by "+b.Builder)
	}
	if b.Source != nil {
		parts = append(parts, "from "+b.Source.String())
	}
	if n := len(b.Materials); n > 0 {
		parts = append(parts, fmt.Sprintf("of %d materials", n))
	}
	return strings.Join(parts, " ")
}

// String is the URI and one digest.
func (m Material) String() string {
	for _, alg := range slices.Sorted(maps.Keys(m.Digest)) {
		return strings.TrimSpace(m.URI + " (" + alg + ":" + m.Digest[alg] + ")")
	}
	return m.URI
}

// describeSBOM reads SPDX 2 and CycloneDX documents, bare or as older cosign wraps
// them, in "Data".
func describeSBOM(raw []byte) string { return sbom(raw, true) }

func sbom(raw []byte, mayWrap bool) string {
	var doc struct {
		SPDXVersion string            `json:"spdxVersion"`
		Packages    []json.RawMessage `json:"packages"`
		BOMFormat   string            `json:"bomFormat"`
		SpecVersion string            `json:"specVersion"`
		Components  []json.RawMessage `json:"components"`
		Data        json.RawMessage   `json:"Data"`
	}
	if json.Unmarshal(raw, &doc) != nil {
		return ""
	}
	switch {
	case doc.SPDXVersion != "":
		return fmt.Sprintf("%s, %d packages", doc.SPDXVersion, len(doc.Packages))
	case doc.BOMFormat != "":
		return fmt.Sprintf("%s %s, %d components", doc.BOMFormat, doc.SpecVersion, len(doc.Components))
	case mayWrap && len(doc.Data) > 0:
		return sbom(doc.Data, false)
	}
	return ""
}

// describeScan reads the scanner of cosign's predicate, and where the result is of a
// known form, how many findings of each severity there are: Trivy's JSON, and SARIF.
func describeScan(raw []byte) string {
	var p struct {
		Scanner struct {
			URI     string          `json:"uri"`
			Version string          `json:"version"`
			Result  json.RawMessage `json:"result"`
		} `json:"scanner"`
	}
	if json.Unmarshal(raw, &p) != nil {
		return ""
	}
	result := p.Scanner.Result
	if len(result) == 0 {
		result = raw
	}
	return strings.TrimSpace(strings.Join(slices.DeleteFunc([]string{p.Scanner.URI, p.Scanner.Version, findings(result)}, func(s string) bool { return s == "" }), " "))
}

func findings(raw []byte) string {
	var doc struct {
		Results []struct {
			Vulnerabilities []struct {
				Severity string `json:"Severity"`
			} `json:"Vulnerabilities"`
		} `json:"Results"`
		Runs []struct {
			Results []struct {
				Level string `json:"level"`
			} `json:"results"`
		} `json:"runs"`
	}
	if json.Unmarshal(raw, &doc) != nil || doc.Results == nil && doc.Runs == nil {
		return ""
	}
	count := map[string]int{}
	for _, r := range doc.Results {
		for _, v := range r.Vulnerabilities {
			count[strings.ToLower(v.Severity)]++
		}
	}
	for _, r := range doc.Runs {
		for _, v := range r.Results {
			count[v.Level]++
		}
	}
	return counts(count, "nothing found")
}

// maxCounted is how many different words are counted; the rest is one sum.
const maxCounted = 8

func counts(count map[string]int, none string) string {
	if len(count) == 0 {
		return none
	}
	var out []string
	rest := 0
	for i, word := range slices.Sorted(maps.Keys(count)) {
		if i >= maxCounted || word == "" {
			rest += count[word]
			continue
		}
		out = append(out, fmt.Sprintf("%d %.40s", count[word], word))
	}
	if rest > 0 {
		out = append(out, fmt.Sprintf("%d others", rest))
	}
	return strings.Join(out, ", ")
}

func describeVEX(raw []byte) string {
	var doc struct {
		Statements []struct {
			Status string `json:"status"`
		} `json:"statements"`
	}
	if json.Unmarshal(raw, &doc) != nil || doc.Statements == nil {
		return ""
	}
	count := map[string]int{}
	for _, s := range doc.Statements {
		count[s.Status]++
	}
	return counts(count, "no statements")
}

func describeSummary(raw []byte) string {
	var doc struct {
		Verifier struct {
			ID string `json:"id"`
		} `json:"verifier"`
		Result string `json:"verificationResult"`
	}
	if json.Unmarshal(raw, &doc) != nil || doc.Result == "" {
		return ""
	}
	return strings.TrimSpace(doc.Result + " by " + doc.Verifier.ID)
}
