package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxInput bounds the text of one reading, in bytes. 30,000 Services with their slices take about 100 MB.
const maxInput = 512 << 20

// input is the text of one reading, before anybody looked into it.
type input struct {
	files   []text
	notices []string
}

// text is the text of one file.
type text struct {
	name string // for messages
	data []byte
}

// gather reads a file, the files of a directory, or standard input.
func gather(path string, stdin io.Reader) (input, error) {
	if path == "-" {
		return gatherFrom("stdin", stdin)
	}
	info, err := os.Stat(path)
	if err != nil {
		return input{}, fmt.Errorf("read manifests: %w", err)
	}
	if info.IsDir() {
		return gatherDir(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return input{}, fmt.Errorf("read manifests: %w", err)
	}
	defer f.Close()
	return gatherFrom(path, f)
}

func gatherFrom(name string, r io.Reader) (input, error) {
	if r == nil {
		return input{}, fmt.Errorf("read manifests: there is no %s", name)
	}
	data, err := readText(name, r, maxInput)
	if err != nil {
		return input{}, err
	}
	return input{files: []text{{name, data}}}, nil
}

// gatherDir reads the manifests of a directory in the order of their names. It reports every file that cannot
// be read.
func gatherDir(dir string) (input, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return input{}, fmt.Errorf("read manifests: %w", err)
	}
	var in input
	var errs []error
	left := int64(maxInput)
	for _, e := range entries {
		if !isManifest(e.Name()) {
			if e.IsDir() && !isHidden(e.Name()) {
				in.notices = append(in.notices, fmt.Sprintf("%s: skipped; directories in a directory are not read", filepath.Join(dir, e.Name())))
			}
			continue
		}
		name := filepath.Join(dir, e.Name())
		data, notice, err := readEntry(name, left)
		switch {
		case err != nil:
			errs = append(errs, err)
		case notice != "":
			in.notices = append(in.notices, notice)
		case data != nil:
			in.files = append(in.files, text{name, data})
			left -= int64(len(data))
		}
	}
	if len(in.files) == 0 && len(errs) == 0 {
		in.notices = append(in.notices, fmt.Sprintf("%s: there is no *.yaml, *.yml or *.json in it", dir))
	}
	if len(errs) > 0 {
		return input{}, errors.Join(errs...)
	}
	return in, nil
}

// readEntry reads a file of a directory. A file that vanished since the directory was listed gives nothing.
func readEntry(name string, most int64) (data []byte, notice string, err error) {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, name + ": skipped; it is not a regular file", nil
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, gone := os.Lstat(name); errors.Is(gone, fs.ErrNotExist) {
			return nil, "", nil
		}
	}
	if err != nil { // among others: a symbolic link that leads nowhere
		return nil, "", fmt.Errorf("read manifests: %w", err)
	}
	defer f.Close()
	data, err = readText(name, f, most)
	return data, "", err
}

// readText reads at most the given number of bytes. The text is without a byte order mark, and not empty.
func readText(name string, r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read manifests: %s: %w", name, err)
	case int64(len(data)) > most:
		return nil, fmt.Errorf("%s: more than %d MiB of manifests; they are not read", name, maxInput>>20)
	case len(data) == 0:
		// A file has no bytes for a moment whenever somebody writes it with `>`.
		return nil, fmt.Errorf("%s: it is empty; remove the file, or write a comment into it, if it is meant to hold nothing", name)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return nil, fmt.Errorf("%s: the text is UTF-16, as PowerShell writes it; convert it to UTF-8", name)
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil
}

// isManifest reports whether a file of this name, in a directory, is read.
func isManifest(name string) bool {
	if isHidden(name) {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func isHidden(name string) bool { return strings.HasPrefix(name, ".") }
