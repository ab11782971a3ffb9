package main

import "github.com/urfave/cli/v2"

func completionCommand(u *ui) *cli.Command {
	return &cli.Command{Name: "completion"}
}
