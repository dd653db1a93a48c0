package delta

import "time"

// Written is the size of restore input, and what it had to wait for.
type Written struct {
	// Commits is the number of COMMITs. Each of them changes something, unless others did the same before.
	Commits int
	Bytes   int64
	// LockWait is for how long others held the lock of the tables before, as far as that can be known; with nft there
	// is no lock.
	LockWait time.Duration
}

// Plus returns what both are together.
func (w Written) Plus(o Written) Written {
	return Written{w.Commits + o.Commits, w.Bytes + o.Bytes, w.LockWait + o.LockWait}
}
