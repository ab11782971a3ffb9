package disk

import "os"

// Unnamed makes a file in dir, or in the system's folder for temporary files if dir is
// empty, that has no name: it is gone when it is closed, or when this process ends,
// however it ends.
func Unnamed(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".airgap-stream-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
