package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"airgap/verify/policy"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// Every policy in docs/policy.md is one.
func TestPolicyExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := yamlBlock.FindAllSubmatch(page, -1)
	if len(blocks) < 3 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, b := range blocks {
		envs := []string{""}
		if strings.Contains(string(b[1]), "environments:") {
			envs = []string{"test", "prod"}
		}
		for _, env := range envs {
			if _, err := policy.Parse("docs/policy.md", b[1], env); err != nil {
				t.Errorf("%v in\n%s", err, b[1])
			}
		}
	}
}
