package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// visible returns the commands that people are shown; cli adds its help command
// when it runs, with or without subcommands to ask about.
func visible(app *cli.App) []*cli.Command {
	var out []*cli.Command
	for _, c := range app.Commands {
		if c.Name != "help" && !c.Hidden {
			out = append(out, c)
		}
	}
	return out
}

// words are what can follow a command first where it is neither a flag nor a file:
// its verbs, as in "init [DIR] | add FILE...".
func words(app *cli.App, command string) []string {
	if command == "help" {
		return commandNames(app)
	}
	var out []string
	if c := app.Command(command); c != nil {
		for form := range strings.SplitSeq(c.ArgsUsage, "|") {
			verb, _, _ := strings.Cut(strings.TrimSpace(form), " ")
			if verb != "" && verb == strings.ToLower(verb) && verb[0] >= 'a' {
				out = append(out, verb)
			}
		}
	}
	return out
}

// flagDoc is a flag as the scripts and docs/cli.md show it.
type flagDoc struct {
	names       []string // with dashes
	placeholder string   // empty if it takes no value
	usage       string
	deflt       string
	repeats     bool
}

func flagDocs(c *cli.Command) []flagDoc {
	var out []flagDoc
	for _, f := range c.Flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok || f == cli.HelpFlag {
			continue
		}
		doc := flagDoc{deflt: d.GetDefaultText(), usage: d.GetUsage()}
		for _, n := range f.Names() {
			doc.names = append(doc.names, strings.Repeat("-", min(len(n), 2))+n)
		}
		if parts := strings.SplitN(doc.usage, "`", 3); len(parts) == 3 {
			doc.placeholder = parts[1]
			doc.usage = parts[0] + parts[1] + parts[2]
		} else if d.TakesValue() {
			doc.placeholder = "VALUE"
		}
		if !d.TakesValue() {
			doc.deflt = map[bool]string{true: "on", false: "off"}[d.GetDefaultText() == "true"]
		}
		s, ok := f.(cli.DocGenerationSliceFlag)
		doc.repeats = ok && s.IsSliceFlag()
		out = append(out, doc)
	}
	return out
}

// short is what fits beside a flag in a menu.
func (f flagDoc) short() string {
	s, _, _ := strings.Cut(f.usage, ";")
	return s
}

func bashCompletion(w io.Writer, app *cli.App) {
	names := commandNames(app)
	fmt.Fprintf(w, `# bash completion for airgap

_airgap() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= flags=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W '%s' -- "$cur"))
        return
    fi
    if [[ $prev == --format ]]; then
        COMPREPLY=($(compgen -W 'text json' -- "$cur"))
        return
    fi
    case ${COMP_WORDS[1]} in
`, strings.Join(names, " "))
	for _, c := range visible(app) {
		var flags []string
		for _, f := range flagDocs(c) {
			flags = append(flags, f.names...)
		}
		fmt.Fprintf(w, "    %s) flags='%s' words='%s' ;;\n", c.Name, strings.Join(flags, " "), strings.Join(words(app, c.Name), " "))
	}
	fmt.Fprintf(w, `    help) words='%s' ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags --help" -- "$cur"))
        return
    fi
    local i
    for ((i = 2; i < COMP_CWORD; i++)); do
        if [[ " $words " == *" ${COMP_WORDS[i]} "* ]]; then
            return # it has its verb, and what follows are files
        fi
    done
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
# Whatever has no completion of its own is a file.
complete -o default -F _airgap airgap
`, strings.Join(words(app, "help"), " "))
}

func zshCompletion(w io.Writer, app *cli.App) {
	fmt.Fprint(w, "#compdef airgap\n\n_airgap() {\n    local -a commands\n    commands=(\n")
	for _, c := range visible(app) {
		fmt.Fprintf(w, "        '%s:%s'\n", c.Name, zshText(c.Usage))
	}
	fmt.Fprint(w, "        'help:tell more of a command'\n    )\n    if ((CURRENT == 2)); then\n        _describe command commands\n        return\n    fi\n    shift words\n    ((CURRENT--))\n    case $words[1] in\n")
	for _, c := range visible(app) {
		fmt.Fprintf(w, "    %s)\n        _arguments \\\n", c.Name)
		for _, f := range flagDocs(c) {
			zshFlag(w, f)
		}
		if list := words(app, c.Name); list != nil {
			fmt.Fprintf(w, "            '1: :(%s)' \\\n", strings.Join(list, " "))
		}
		fmt.Fprint(w, "            '*: :_files'\n        ;;\n")
	}
	fmt.Fprintf(w, "    help) _arguments '*: :(%s)' ;;\n    esac\n}\n\n", strings.Join(words(app, "help"), " "))
	fmt.Fprint(w, "if [[ $funcstack[1] == _airgap ]]; then\n    _airgap \"$@\"\nelse\n    compdef _airgap airgap\nfi\n")
}

func zshFlag(w io.Writer, f flagDoc) {
	value := ""
	switch {
	case f.names[0] == "--format":
		value = ":FORMAT:(text json)"
	case f.placeholder != "":
		value = ":" + zshText(f.placeholder) + ":_files"
	}
	for _, name := range f.names {
		// Listed once more after it was given only if it repeats.
		repeat := ""
		if f.repeats {
			repeat = "*"
		}
		fmt.Fprintf(w, "            '%s%s[%s]%s' \\\n", repeat, name, zshText(f.short()), value)
	}
}

// zshText keeps a text from ending what it stands in.
func zshText(s string) string {
	return strings.NewReplacer("'", "’", "[", "(", "]", ")", ":", `\:`).Replace(s)
}

func fishCompletion(w io.Writer, app *cli.App) {
	fmt.Fprint(w, "# fish completion for airgap\n\n")
	for _, c := range visible(app) {
		fmt.Fprintf(w, "complete -c airgap -f -n __fish_use_subcommand -a %s -d '%s'\n", c.Name, fishText(c.Usage))
	}
	fmt.Fprint(w, "complete -c airgap -f -n __fish_use_subcommand -a help -d 'tell more of a command'\n")
	fmt.Fprintf(w, "complete -c airgap -n '__fish_seen_subcommand_from help' -f -a '%s'\n", strings.Join(words(app, "help"), " "))
	for _, c := range visible(app) {
		seen := fmt.Sprintf("complete -c airgap -n '__fish_seen_subcommand_from %s'", c.Name)
		if list := words(app, c.Name); list != nil {
			verbs := strings.Join(list, " ")
			fmt.Fprintf(w, "complete -c airgap -n '__fish_seen_subcommand_from %s; and not __fish_seen_subcommand_from %s' -f -a '%s'\n", c.Name, verbs, verbs)
		}
		for _, f := range flagDocs(c) {
			fmt.Fprint(w, seen)
			for _, name := range f.names {
				if rest, long := strings.CutPrefix(name, "--"); long {
					fmt.Fprintf(w, " -l %s", rest)
				} else {
					fmt.Fprintf(w, " -s %s", strings.TrimPrefix(name, "-"))
				}
			}
			switch {
			case f.names[0] == "--format":
				fmt.Fprint(w, " -x -a 'text json'")
			case f.placeholder != "":
				fmt.Fprint(w, " -r")
			}
			fmt.Fprintf(w, " -d '%s'\n", fishText(f.short()))
		}
	}
}

func fishText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s)
}
