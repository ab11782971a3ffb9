//go:build unix

package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

// machine says in one line where this ran, without saying whose it is.
func machine() string {
	parts := []string{runtime.GOOS + "/" + runtime.GOARCH, fmt.Sprintf("%d CPUs", runtime.NumCPU())}
	if model := cpuModel(); model != "" {
		parts[1] += " (" + model + ")"
	}
	parts = append(parts, runtime.Version())
	if l := loadAverage(); l != "" {
		parts = append(parts, "load average "+l+" at the start")
	}
	return strings.Join(parts, ", ")
}

func cpuModel() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// loadAverage is how busy the machine was with other things.
func loadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(raw), " ")
	return first
}

// versions says which peers these are.
func (r *rig) versions() string {
	var out []string
	for _, t := range []struct{ name, module string }{
		{"crane", "github.com/google/go-containerregistry"}, {"regctl", "github.com/regclient/regclient"},
		{"oras", "oras.land/oras"}, {"registry", "github.com/distribution/distribution/v3"},
	} {
		if path, ok := r.tool(t.name); ok {
			out = append(out, strings.TrimSpace(t.name+" "+moduleVersion(path, t.module)))
		}
	}
	if path, ok := r.tool("skopeo"); ok {
		if raw, err := exec.Command(path, "--version").Output(); err == nil {
			out = append(out, strings.Replace(strings.TrimSpace(string(raw)), "version ", "", 1))
		}
	}
	return strings.Join(out, ", ")
}

// moduleVersion reads the version out of a Go program: it may have been built as
// the main module or as a dependency of one.
func moduleVersion(path, module string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return ""
	}
	if info.Main.Path == module {
		return info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return ""
}
