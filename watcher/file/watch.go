package file

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/fsnotify/fsnotify"

	"espalier/watcher/convert"
)

// Watch reads the file or directory at path, calls into with what it found, and calls it again whenever the
// files have changed. It returns nil when ctx ends. An error of the first reading it returns; a later one goes
// to onError, once, and what into got last stays in force until a reading succeeds.
//
// into and onError are called by one goroutine, one at a time. Changes within 50 ms are one; with changes that
// never end, there is a reading a second. The file, the directory and those above it may be removed and made
// again. Standard input and pipes cannot be watched.
func Watch(ctx context.Context, path string, o convert.Options, into func(Result), onError func(error)) error {
	if path == "-" {
		return errors.New("watch manifests: standard input can be read only once")
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return fmt.Errorf("watch manifests: %s is neither a file nor a directory; it can be read only once", path)
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch manifests: %w%s", err, limitHint(err))
	}
	defer notify.Close()
	w := &watch{path: path, options: o, notify: notify, burst: newDebounce(), seed: maphash.MakeSeed()}
	result, _, err := w.read()
	if err != nil {
		return err
	}
	into(result)

	lost := drain(notify.Errors)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-notify.Events:
			if !ok {
				return errors.New("watch manifests: the kernel's notifications ended")
			}
			if w.trail.matters(e.Name) {
				w.burst.note()
			}
		case <-lost:
			w.burst.note()
		case <-w.burst.timer.C:
			w.burst.done()
			result, changed, err := w.read()
			switch {
			case !changed:
			case err != nil:
				onError(err)
			default:
				into(result)
			}
		}
	}
}

// watch is the state of Watch.
type watch struct {
	path    string
	options convert.Options
	notify  *fsnotify.Watcher
	trail   trail
	burst   *debounce

	seed  maphash.Seed
	sum   uint64 // of the text that was interpreted last
	known bool   // there is such a text
	said  string // the error of the last reading; empty: there was none
}

// read reads the manifests. changed is false if the result is that of the reading before.
func (w *watch) read() (result Result, changed bool, err error) {
	in, err := w.gather()
	if sum := in.sum(w.seed); err != nil {
		w.known = false
	} else if w.known && sum == w.sum { // touched, or renamed and renamed back
		return Result{}, false, nil
	} else {
		w.known, w.sum = true, sum
		result, err = interpret(in, w.options)
	}
	said := ""
	if err != nil {
		said = err.Error()
	}
	changed = said == "" || said != w.said
	w.said = said
	return result, changed, err
}

// gather gathers the text, after it made sure that every later change of it will be an event.
func (w *watch) gather() (in input, err error) {
	const tries = 3
	for range tries {
		if w.trail, err = follow(w.path); err != nil {
			return input{}, fmt.Errorf("watch manifests: %w", err)
		}
		if err = w.listen(); err != nil {
			return input{}, err
		}
		in, err = gather(w.path, nil)
		// If the paths lead elsewhere by now, the text may be half old and half new, and the watches are not
		// where they should be.
		if now, _ := follow(w.path); now.equal(w.trail) {
			return in, err
		}
	}
	w.burst.note()
	return in, err
}

// listen makes the kernel watch exactly what the trail needs. Watches vanish with their directories, so those
// that should be there are all set again; that costs nothing.
func (w *watch) listen() error {
	wanted := w.trail.watched()
	for _, path := range w.notify.WatchList() {
		if !wanted[path] {
			_ = w.notify.Remove(path) // it may be gone already
		}
	}
	for _, path := range slices.Sorted(maps.Keys(wanted)) {
		err := w.notify.Add(path)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		case errors.Is(err, fs.ErrPermission) && !w.trail.needs(path):
			// A directory above, whose parts are then trusted to stay where they are.
		default:
			return fmt.Errorf("watch %s: %w%s", path, err, limitHint(err))
		}
	}
	return nil
}

// drain reads all errors of the notifications and reports that there were some: whatever happened, events may
// be lost, most often because there were too many. It must not wait for Watch, because Watch may be waiting
// for the sender of the error.
func drain(errs <-chan error) <-chan struct{} {
	lost := make(chan struct{}, 1)
	go func() {
		for range errs {
			select {
			case lost <- struct{}{}:
			default:
			}
		}
	}()
	return lost
}

// limitHint names the limit that was reached; both errors are also something else in other places.
func limitHint(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return " (the sysctl fs.inotify.max_user_instances limits them)"
	case errors.Is(err, syscall.ENOSPC):
		return " (the sysctl fs.inotify.max_user_watches limits them)"
	}
	return ""
}

// sum is equal for inputs of equal text. It is different for different ones, but for one in 2^64.
func (in input) sum(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, f := range in.files {
		maphash.WriteComparable(&h, f.name)
		maphash.WriteComparable(&h, len(f.data))
		h.Write(f.data)
	}
	return h.Sum64()
}
