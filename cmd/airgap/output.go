package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"airgap/layout"
)

// outputFile returns where the bundle is to be written: path, or what the link
// at path leads to, so that the link stays. A finished bundle takes the place of
// what has its name, and that may only be a file: a device or a pipe would be
// gone, and nobody would get the bytes.
func outputFile(path string) (string, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if info, err = os.Stat(path); err == nil && info.Mode().IsRegular() {
			return filepath.EvalSymlinks(path)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", usagef("--output %s is a link to nothing", path)
	}
	if err != nil || info.Mode().IsRegular() {
		return path, nil // what else is wrong is found when it is written
	}
	return "", &adviceError{usagef("--output %s is %s, which a bundle would replace", path, kindOfFile(info.Mode())),
		"name a file, or write to a device or a pipe with -o - > " + path}
}

func kindOfFile(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "no regular file"
}

// checkInputs refuses to write over a list that says what to export.
func checkInputs(output string, lists []string) error {
	for _, path := range []string{output, output + layout.PartialSuffix} {
		out, err := os.Stat(path)
		if err != nil {
			continue
		}
		for _, list := range lists {
			if in, err := os.Stat(list); err == nil && list != "-" && os.SameFile(in, out) {
				return usagef("--output %s would replace the list %s given with --file", output, list)
			}
		}
	}
	return nil
}
