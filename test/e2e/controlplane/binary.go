package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
)

// binaries names the folder of the control plane's binaries in the environment.
const binaries = "E2E_BIN"

// Binary returns the path of a program that "make e2e" has built: in $E2E_BIN, or in bin of this module.
func Binary(name string) (string, error) {
	if dir := os.Getenv(binaries); dir != "" {
		return existing(filepath.Join(dir, name))
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return existing(filepath.Join(dir, "bin", name))
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find %s: no go.mod above the working directory, and $%s is not set", name, binaries)
		}
	}
}

func existing(path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find a program of the control plane (make control-plane builds it): %w", err)
	}
	return path, nil
}
