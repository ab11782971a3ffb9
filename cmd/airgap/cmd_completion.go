package main

import (
	"context"
	"io"

	"github.com/urfave/cli/v2"
)

// shells are those that completion can be written for.
var shells = map[string]func(io.Writer, *cli.App){
	"bash": bashCompletion,
	"zsh":  zshCompletion,
	"fish": fishCompletion,
}

func completionCommand(u *ui) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "write a completion script for a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: `Writes a script that lets the shell complete airgap's commands and flags. It is made
from the commands and calls nothing.

Examples:
   airgap completion bash > /etc/bash_completion.d/airgap
   airgap completion zsh > "${fpath[1]}/_airgap"
   airgap completion fish > ~/.config/fish/completions/airgap.fish`,
		Action: func(c *cli.Context) error { return runCompletion(c.Context, u, c.App, c.Args().Slice()) },
	}
}

func runCompletion(_ context.Context, u *ui, app *cli.App, args []string) error {
	if len(args) != 1 || shells[args[0]] == nil {
		return usagef("completion wants a shell: bash, zsh or fish")
	}
	shells[args[0]](u.stdout, app)
	return nil
}
