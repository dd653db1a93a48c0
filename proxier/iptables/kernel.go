package iptables

import (
	"context"
	"io"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// Kernel is the rules of one IP family in one backend, as the binaries give access to them.
type Kernel struct {
	Family  ipproto.Family
	Backend Backend
	// Paths of the binaries, for logs.
	Command, SaveCommand, RestoreCommand string
}

// Open finds the binaries for the family and the backend, which must not be Auto.
func Open(ctx context.Context, f ipproto.Family, b Backend) (*Kernel, error) { return nil, nil }

// Save reads the tables, or all tables of package ruleset if none is named. A table that nobody has touched
// yet is not an error: it has no chains then.
func (k *Kernel) Save(ctx context.Context, tables ...ruleset.Table) (ruleset.Saved, error) {
	return ruleset.Saved{}, nil
}

// Restore runs iptables-restore --noflush with what write writes as its input. write is called again after a
// refusal, to find the text of the refused line, so it must write the same each time.
//
// Errors: *RestoreError if the input was refused. Whatever the error, COMMITs before the refused one hold.
func (k *Kernel) Restore(ctx context.Context, write func(io.Writer) error) error { return nil }

// Apply writes the batch. An empty batch starts no process.
func (k *Kernel) Apply(ctx context.Context, b delta.Batch) error {
	if b.Empty() {
		return nil
	}
	return k.Restore(ctx, func(w io.Writer) error { return b.Encode(w, k.Family, k.Backend.Strategy()) })
}

// RestoreError says which line of its input iptables-restore refused.
type RestoreError struct {
	Family  ipproto.Family
	Backend Backend
	// Line counts from 1; 0 if the tool named none. Text is that line.
	Line   int
	Text   string
	Exit   int
	Stderr string
}

func (e *RestoreError) Error() string { return "" }

// IsLockBusy reports whether another program held the lock of the tables for too long: nothing was written,
// and the same may work a moment later.
func IsLockBusy(err error) bool { return false }
