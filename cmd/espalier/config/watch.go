package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a file has to be left alone before it is read: it is empty at first while it is written.
const settle = 500 * time.Millisecond

// ErrChanged says that the configuration file is not any more what it was when it was read.
var ErrChanged = errors.New("the content of the configuration file has changed, and takes effect with the next start")

// Watch waits until the file is written to, or renamed, and its path leads to another content than was read; then it
// returns ErrChanged. If ctx ends first, it returns nil. Without a file it only waits.
//
// It watches the file, not its path: when the kubelet updates a ConfigMap, it exchanges a link above it, and nothing
// happens here. Otherwise an edited ConfigMap would restart all nodes of a cluster at the same moment; kube-proxy does
// not, either.
func (f File) Watch(ctx context.Context) error {
	if f.Path == "" {
		<-ctx.Done()
		return nil
	}
	w, err := f.open()
	if err == nil {
		err = w.wait(ctx, settle)
	}
	if err != nil && !errors.Is(err, ErrChanged) {
		return fmt.Errorf("watch configuration file %q: %w", f.Path, err)
	}
	return err
}

// watching is a watch that is set.
type watching struct {
	File
	events *fsnotify.Watcher
}

// open sets the watch. The file may have changed since it was read.
func (f File) open() (*watching, error) {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err = events.Add(f.Path); err == nil {
		err = f.compare()
	}
	if err != nil {
		return nil, errors.Join(err, events.Close())
	}
	return &watching{f, events}, nil
}

// wait waits for a change.
func (w *watching) wait(ctx context.Context, settle time.Duration) error {
	defer w.events.Close()
	quiet := time.NewTimer(settle)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.events.Errors:
			return err
		case e := <-w.events.Events:
			if e.Has(fsnotify.Write) || e.Has(fsnotify.Rename) {
				quiet.Reset(settle)
			}
		case <-quiet.C:
			if err := w.compare(); err != nil {
				return err
			}
			_ = w.events.Add(w.Path) // a file that was renamed away, and put back, is another one; else this does nothing
		}
	}
}

func (f File) compare() error {
	text, err := os.ReadFile(f.Path)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrChanged, err)
	case sha256.Sum256(text) != f.Sum:
		return fmt.Errorf("%q: %w", f.Path, ErrChanged)
	}
	return nil
}
