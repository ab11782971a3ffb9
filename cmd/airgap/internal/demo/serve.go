package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
)

// serve pulls everything out of the store, through the registry that airgap is.
func (d *demo) serve(ctx context.Context) (err error) {
	d.step("Be a registry, over the store")
	args := []string{"serve", "--store", storeName, "--listen", "127.0.0.1:0", "-q"}
	fmt.Fprintf(d.out, "\n  $ airgap %s &\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, d.binary, args...)
	cmd.Dir, cmd.Env = d.dir, d.environment()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()) }()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return fmt.Errorf("airgap serve did not say where it listens: %w", err)
	}
	fmt.Fprintf(d.out, "    %s", line)
	at, err := url.Parse(strings.TrimSpace(line))
	if err != nil {
		return err
	}
	// Images keep the names of their source; a colon is written as an underscore.
	served := repository{at.Host, strings.ReplaceAll(d.source.host, ":", "_") + "/" + d.source.name}
	if _, err := compareRegistry(ctx, d.original, served); err != nil {
		return fmt.Errorf("what is served differs from registry A:\n%w", err)
	}
	d.say("Under the name of its source, everything that registry A had is pulled from there, byte\nfor byte, by the demo's own client. Imports go on beside it.")
	_, err = d.airgap(ctx, 0, "store", "ls", "--store", storeName)
	return err
}
