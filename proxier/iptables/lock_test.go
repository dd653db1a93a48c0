package iptables

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hold takes the lock as another program does, and returns what gives it back.
func hold(t *testing.T, path string) func() {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { _ = file.Close() }
}

func TestAwaitLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	t.Setenv("XTABLES_LOCKFILE", path)

	if waited := awaitLock(t.Context()); waited <= 0 || waited > time.Second {
		t.Errorf("waited %v for a lock that nobody had, want some microseconds", waited)
	}
	hold(t, path)() // it was given back

	release := hold(t, path)
	const held = 50 * time.Millisecond
	time.AfterFunc(held, release)
	start := time.Now()
	if waited := awaitLock(t.Context()); waited < held || waited > time.Since(start) {
		t.Errorf("waited %v, want the %v for which another program had it", waited, held)
	}

	release = hold(t, path)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if waited := awaitLock(ctx); waited > time.Second {
		t.Errorf("waited %v although nobody wants the result", waited)
	}
	t.Setenv("XTABLES_LOCKFILE", t.TempDir()+"/missing/lock")
	if waited := awaitLock(t.Context()); waited != 0 {
		t.Errorf("waited %v for a lock that cannot be", waited)
	}
}
