package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// newApp puts the commands together.
func newApp(u *ui) *cli.App {
	app := &cli.App{
		Name:  "airgap",
		Usage: "carry container images, with all their signatures, into networks that have no way out",
		Description: "airgap export collects images, and everything that is attached to them, into one\n" +
			"bundle; airgap import brings it into a registry or a store on the far side.\n" +
			"\"airgap help COMMAND\" tells more of each.",
		Reader: u.stdin, Writer: u.stdout, ErrWriter: u.stderr,
		HideVersion:               true, // there is a command
		DisableSliceFlagSeparator: true, // a name may hold a comma
		ExitErrHandler:            func(*cli.Context, error) {},
		Commands: []*cli.Command{
			exportCommand(u), importCommand(u), verifyCommand(u), policyCommand(u), inspectCommand(u), treeCommand(u), diffCommand(u),
			signCommand(u), attestCommand(u), promoteCommand(u), provenanceCommand(u), reverifyCommand(u), storeCommand(u), serveCommand(u), mirrorsCommand(u), trustCommand(u), certCommand(u), logCommand(u), receiptCommand(u),
			versionCommand(u), completionCommand(u),
		},
	}
	app.Action = func(c *cli.Context) error { return unknownCommand(app, c.Args().First()) }
	app.OnUsageError = usageErrors
	for _, c := range app.Commands {
		c.OnUsageError = usageErrors
		c.HideHelpCommand = true // there are no subcommands to ask about
	}
	return app
}

func unknownCommand(app *cli.App, name string) error {
	if name == "" {
		return &adviceError{usagef("a command is missing"), "airgap help lists them"}
	}
	return &adviceError{usagef("there is no command %q", name), suggestion("airgap ", closest(name, commandNames(app)), "airgap help lists all commands")}
}

func commandNames(app *cli.App) []string {
	out := []string{"help"}
	for _, c := range visible(app) {
		out = append(out, c.Name)
	}
	return out
}

// usageErrors turns what cli says of a flag's value into an error of ours.
func usageErrors(_ *cli.Context, err error, _ bool) error {
	return &adviceError{usagef("%w", err), "airgap help COMMAND lists the flags and what they take"}
}

func suggestion(prefix, guess, otherwise string) string {
	if guess == "" {
		return otherwise
	}
	return fmt.Sprintf("did you mean %s%s? %s", prefix, guess, otherwise)
}

// closest returns the name that a slip of the finger is nearest to, or "" if
// none is near.
func closest(name string, names []string) string {
	best, bestDist := "", 3 // two slips, or a third of the name
	for _, n := range names {
		if d := distance(name, n); d < bestDist && d <= (len(n)+2)/3 {
			best, bestDist = n, d
		}
	}
	if best == "" && len(name) >= 3 {
		if i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, name) }); i >= 0 {
			best = names[i]
		}
	}
	return best
}

// distance counts the characters to insert, remove or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// arrange puts a command's flags before its arguments, as the parser beneath cli
// wants them: it takes the first argument for the end of the flags, while people
// write "export REF -o FILE". "--" ends the flags for both.
func arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	cmd := app.Command(args[1])
	switch {
	case args[1] == "--version", args[1] == "-v":
		return []string{args[0], "version"}, nil
	case args[1] == "help" && len(args) > 2 && app.Command(args[2]) == nil:
		return nil, unknownCommand(app, args[2])
	case cmd == nil:
		return args, nil
	}
	var flags, rest []string
	for todo := args[2:]; len(todo) > 0; todo = todo[1:] {
		arg := todo[0]
		if arg == "--" {
			rest = append(rest, todo[1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		takesNext, err := lookUpFlag(cmd, arg)
		if err != nil {
			return nil, err
		}
		flags = append(flags, arg)
		if takesNext && len(todo) > 1 {
			todo = todo[1:]
			flags = append(flags, todo[0])
		}
	}
	return slices.Concat(args[:2], flags, []string{"--"}, rest), nil
}

// lookUpFlag says whether the word after a flag is its value.
func lookUpFlag(cmd *cli.Command, arg string) (bool, error) {
	name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	names := cli.HelpFlag.Names()
	if slices.Contains(names, name) {
		return false, nil
	}
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), name) {
			d, ok := f.(cli.DocGenerationFlag)
			return ok && d.TakesValue() && !hasValue, nil
		}
		names = append(names, f.Names()...)
	}
	guess := closest(name, slices.DeleteFunc(names, func(n string) bool { return len(n) < 2 }))
	return false, &adviceError{
		usagef("airgap %s has no flag %s", cmd.Name, arg),
		suggestion("--", guess, "airgap help "+cmd.Name+" lists its flags"),
	}
}
