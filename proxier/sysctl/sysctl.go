// Package sysctl puts the settings of the kernel that a Service proxy depends on where they have to be: the size and
// the timeouts of conntrack, route_localnet, and this process's place in the queue of the OOM killer.
//
// It does not know why a value is wanted, and it does not log: it returns what it changed.
//
// The one rule to respect: a file is opened for writing only if its value has to change. Where somebody else has set
// the values before (the host, or an init container that may do more), no privilege is needed.
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Root is the directory that has proc and sys in it: "/" on a running machine.
type Root string

// Setting is a value that a file is to have.
type Setting struct {
	// Path is that of the file, below the root.
	Path string
	// Value is what it should say.
	Value int
	// AtLeast: a greater value is as good.
	AtLeast bool
	// Instead says what an operator can do who does not want it, or cannot have it: the flag that leaves it alone.
	Instead string
}

// Change is a Setting that was not what it should be, and now is.
type Change struct {
	Setting
	Before int // -1: unknown
}

// Name returns the name that the sysctl command knows: net.ipv4.conf.all.route_localnet. A file that is no sysctl is
// called by its path.
func (s Setting) Name() string {
	if name, ok := strings.CutPrefix(s.Path, "proc/sys/"); ok {
		return strings.ReplaceAll(name, "/", ".")
	}
	return "/" + s.Path
}

// Read returns the number that a file holds.
func (r Root) Read(path string) (int, error) {
	text, err := r.text(path)
	if err != nil {
		return -1, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1, fmt.Errorf("read /%s: %w", path, err)
	}
	return n, nil
}

// Apply brings about the settings in their order, and stops at the first one that cannot be. A file that cannot be
// read counts as one with a wrong value.
func (r Root) Apply(settings []Setting) ([]Change, error) {
	var changes []Change
	for _, s := range settings {
		before, done := r.is(s)
		if done {
			continue
		}
		if err := r.write(s); err != nil {
			return changes, s.explain(err)
		}
		changes = append(changes, Change{s, before})
	}
	return changes, nil
}

// Check reports whether Apply would succeed for a setting, as far as that can be seen without a change.
func (r Root) Check(s Setting) error {
	if _, done := r.is(s); done {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(string(r), s.Path), os.O_WRONLY, 0)
	if err != nil {
		return s.explain(err)
	}
	return f.Close()
}

func (r Root) is(s Setting) (before int, done bool) {
	before, err := r.Read(s.Path)
	return before, err == nil && (before == s.Value || s.AtLeast && before > s.Value)
}

// write does not create the file: in /proc that is impossible, and elsewhere it would hide a mistake.
func (r Root) write(s Setting) error {
	f, err := os.OpenFile(filepath.Join(string(r), s.Path), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(s.Value) + "\n")
	return errors.Join(err, f.Close())
}

// explain says what to do about a value that could not be written.
func (s Setting) explain(err error) error {
	remedy := "set it on the host"
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.Contains(s.Path, "conntrack"):
		remedy = "load the kernel module on the host (modprobe nf_conntrack)"
	case errors.Is(err, syscall.EROFS):
		remedy = "set it on the host, mount /proc/sys writable (a privileged container), or run --init-only in a privileged init container"
	case errors.Is(err, fs.ErrPermission):
		remedy = "set it on the host, or run --init-only in a privileged init container; some values can only be set outside of network namespaces"
	}
	if s.Instead != "" {
		remedy += "; or leave it as it is, with " + s.Instead
	}
	return fmt.Errorf("set %s to %d: %w: %s", s.Name(), s.Value, err, remedy)
}
