package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

//go:generate go test . -run ^TestReferenceIsCurrent$ -update

// docs/cli.md is made from the commands, so that it says what they do.
func TestReferenceIsCurrent(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "cli.md")
	got := reference(newApp(testUI()))
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("docs/cli.md is not what the commands say; run go generate ./cmd/airgap")
	}
}

// reference walks the commands.
func reference(app *cli.App) string {
	var b strings.Builder
	b.WriteString("<!-- Made from the commands by go generate ./cmd/airgap; changes here are lost. -->\n\n")
	fmt.Fprintf(&b, "# The command line\n\n`airgap` can %s. Results go to stdout, all else to stderr; flags may stand before or after arguments, and `--` ends them.\n\n", app.Usage)
	b.WriteString("| command | does |\n|---|---|\n")
	for _, c := range visible(app) {
		fmt.Fprintf(&b, "| [`airgap %s`](#airgap-%s) | %s |\n", c.Name, c.Name, c.Usage)
	}
	b.WriteString("\n## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, row := range exitMeanings {
		fmt.Fprintf(&b, "| %d | %s |\n", row.code, row.meaning)
	}
	b.WriteString("\nThe first Ctrl-C stops at once and leaves nothing half-made under its final name; the same command goes on from there. A second one kills.\n\n" +
		"## JSON\n\nWith `--format json` a command prints one document. Its `apiVersion` is `" + apiVersion +
		"` and its `kind` says which it is; fields may be added, and for any other change `apiVersion` changes.\n")
	for _, c := range visible(app) {
		referenceCommand(&b, c)
	}
	return b.String()
}

func referenceCommand(b *strings.Builder, c *cli.Command) {
	flags := flagDocs(c)
	usage := "airgap " + c.Name
	if len(flags) > 0 {
		usage += " [flags]"
	}
	if c.ArgsUsage != "" {
		usage += " " + c.ArgsUsage
	}
	text, examples, _ := strings.Cut(c.Description, "\n\nExamples:\n")
	fmt.Fprintf(b, "\n## airgap %s\n\n%s.\n\n    %s\n\n%s\n", c.Name, strings.ToUpper(c.Usage[:1])+c.Usage[1:], usage, text)
	if examples != "" {
		b.WriteString("\nExamples:\n\n")
		for line := range strings.Lines(examples) {
			b.WriteString("    " + strings.TrimSpace(line) + "\n")
		}
	}
	if len(flags) == 0 {
		return
	}
	b.WriteString("\n| flag | what for | default |\n|---|---|---|\n")
	for _, f := range flags {
		names := make([]string, len(f.names))
		for i, n := range f.names {
			names[i] = "`" + strings.TrimSpace(n+" "+f.placeholder) + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", cell(strings.Join(names, ", ")), cell(f.usage), cell(f.deflt))
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// Every command explains itself, and every flag says what it is for and what
// holds without it.
func TestEverythingIsExplained(t *testing.T) {
	commands := visible(newApp(testUI()))
	if len(commands) < 7 {
		t.Fatalf("only %d commands", len(commands))
	}
	for _, c := range commands {
		if c.Usage == "" || !strings.Contains(c.Description, "\n\nExamples:\n   airgap "+c.Name) && c.Name != "completion" {
			t.Errorf("%s: no usage, or no examples", c.Name)
		}
		for _, f := range flagDocs(c) {
			if f.usage == "" || f.deflt == "" || f.placeholder == "VALUE" {
				t.Errorf("%s %v: usage %q, default %q, placeholder %q", c.Name, f.names, f.usage, f.deflt, f.placeholder)
			}
		}
		for line := range strings.Lines(c.Description) {
			if len([]rune(strings.TrimRight(line, "\n"))) > 88 {
				t.Errorf("%s: a line of the description is too long for a terminal: %s", c.Name, line)
			}
		}
	}
}
