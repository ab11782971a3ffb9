package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is set by the linker; see the Makefile.
var version = ""

// versionResult is what version reports.
type versionResult struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source, where the build knew it
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(u *ui) *cli.Command {
	var o outputOptions
	return &cli.Command{
		Name:  "version",
		Usage: "say which airgap this is",
		Description: `Prints the version, the Go release it was built with and the platform it is for.

Examples:
   airgap version
   airgap version --format json`,
		Flags: o.flags(),
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usagef("version wants no arguments")
			}
			return runVersion(c.Context, u, o)
		},
	}
}

func runVersion(_ context.Context, u *ui, o outputOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	v := readVersion()
	return u.result(o, "Version", v, func(w io.Writer) {
		fmt.Fprintf(w, "airgap %s (%s, %s)\n", v.Version, v.Go, v.Platform)
	})
}

func readVersion() versionResult {
	v := versionResult{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok && v.Version == "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" || v.Version == "(devel)" {
		v.Version = "devel"
	}
	if ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return v
}
