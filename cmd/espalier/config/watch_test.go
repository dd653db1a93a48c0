package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What happens to a file, and whether the process ends: as in kube-proxy, but for content that stays the same.
func TestWatch(t *testing.T) {
	before := header + "oomScoreAdj: 1\n"
	after := header + "oomScoreAdj: 2\n"
	for _, test := range []struct {
		name   string
		change func(t *testing.T, path string)
		ends   bool
	}{
		{"written", func(t *testing.T, path string) { write(t, path, after) }, true},
		{"a line more", func(t *testing.T, path string) { write(t, path, before+"# comment\n") }, true},
		{"emptied", func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) }, true},
		{"renamed away", func(t *testing.T, path string) { must(t, os.Rename(path, path+".old")) }, true},
		{"written with the same content", func(t *testing.T, path string) { write(t, path, before) }, false},
		{"renamed away, and the same put in its place", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".old"))
			write(t, path, before)
		}, false},
		{"touched", func(t *testing.T, path string) { must(t, os.Chtimes(path, time.Now(), time.Now())) }, false},
		{"other permissions", func(t *testing.T, path string) { must(t, os.Chmod(path, 0o644)) }, false},
		{"removed", func(t *testing.T, path string) { must(t, os.Remove(path)) }, false},
		{"replaced", func(t *testing.T, path string) {
			write(t, path+".new", after)
			must(t, os.Rename(path+".new", path))
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "config.conf")
			write(t, path, before)
			watched(t, path, test.ends, func() { test.change(t, path) })
		})
	}
}

// The kubelet updates the files of a ConfigMap by exchanging a link to their directory.
func TestWatchOfAConfigMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for version, text := range map[string]string{"v1": "oomScoreAdj: 1\n", "v2": "oomScoreAdj: 2\n"} {
		must(t, os.Mkdir(filepath.Join(dir, version), 0o755))
		write(t, filepath.Join(dir, version, "config.conf"), header+text)
	}
	must(t, os.Symlink("v1", filepath.Join(dir, "..data")))
	path := filepath.Join(dir, "config.conf")
	must(t, os.Symlink("..data/config.conf", path))
	watched(t, path, false, func() {
		must(t, os.Symlink("v2", filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		must(t, os.RemoveAll(filepath.Join(dir, "v1")))
	})
}

// A file that took the place of another is watched from then on.
func TestAFileThatWasExchangedForItsLikeIsStillWatched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.conf")
	write(t, path, header)
	_, f, _, err := readFile(path)
	must(t, err)
	w, err := f.open()
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- w.wait(t.Context(), 50*time.Millisecond) }()
	must(t, os.Rename(path, path+".old"))
	write(t, path, header)
	for version := 0; ; version++ {
		select {
		case err := <-done:
			if !errors.Is(err, ErrChanged) {
				t.Errorf("error %v, want that the content has changed", err)
			}
			return
		case <-time.After(100 * time.Millisecond): // the watch takes a moment to be set again
			if version == 100 {
				t.Fatal("a hundred changes went unnoticed")
			}
			write(t, path, fmt.Sprintf("%s# version %d\n", header, version))
		}
	}
}

func TestAChangeBetweenReadingAndWatchingIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.conf")
	write(t, path, header)
	_, f, _, err := readFile(path)
	must(t, err)
	write(t, path, header+"oomScoreAdj: 2\n")
	if err := f.Watch(t.Context()); !errors.Is(err, ErrChanged) {
		t.Errorf("error %v, want that the content has changed", err)
	}
}

func TestWithoutAFileNothingIsWatched(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (File{}).Watch(ctx); err != nil {
		t.Error(err)
	}
}

// watched changes a file that is watched, and looks whether the watch ends.
func watched(t *testing.T, path string, ends bool, change func()) {
	t.Helper()
	_, f, _, err := readFile(path)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	w, err := f.open()
	must(t, err)
	const quiet = 100 * time.Millisecond
	go func() { done <- w.wait(ctx, quiet) }()
	change()
	// There is no event for "nothing will come of it": one waits for as long as something would take, and more.
	patience := 4 * quiet
	if ends {
		patience = 20 * time.Second
	}
	select {
	case err = <-done:
	case <-time.After(patience):
		cancel()
		err = <-done
	}
	if ended := errors.Is(err, ErrChanged); ended != ends {
		t.Errorf("ended: %v, want %v; error %v", ended, ends, err)
	}
}
