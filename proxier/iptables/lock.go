package iptables

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile is the lock that the tools of the legacy backend take, all programs of the machine the same one. They can be
// told another one by the variable XTABLES_LOCKFILE.
const lockFile = "/run/xtables.lock"

const (
	// lockPatience is how long the lock is watched before a tool is started, which then waits by itself.
	lockPatience = 5 * time.Second
	lockInterval = 5 * time.Millisecond
)

// awaitLock waits until nobody has the lock of the legacy backend, and returns how long that took: the tools do not tell
// how long they wait. It gives the lock back at once, so that somebody else can still come first. What cannot be known,
// for want of privileges say, is not waited for.
func awaitLock(ctx context.Context) time.Duration {
	path := os.Getenv("XTABLES_LOCKFILE")
	if path == "" {
		path = lockFile
	}
	start := time.Now()
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return 0
	}
	defer file.Close() // which gives the lock back
	tick := time.NewTicker(lockInterval)
	defer tick.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Since(start) > lockPatience {
			return time.Since(start)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Since(start)
		}
	}
}
