package iptables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// lockWait is how many seconds the legacy tools wait for /run/xtables.lock; the others ignore it.
const lockWait = "5"

// Kernel is the rules of one IP family in one backend, as the binaries give access to them. Make it with Open.
type Kernel struct {
	Family  ipproto.Family
	Backend Backend
	// Version is that of the binaries, as "1.8.9".
	Version string
	// Paths of the binaries.
	Command, SaveCommand, RestoreCommand string
}

// String is for logs: "ipv4 by /usr/sbin/iptables-nft-restore 1.8.9 (nft)".
func (k *Kernel) String() string {
	return fmt.Sprintf("%v by %s %s (%v)", k.Family, k.RestoreCommand, k.Version, k.Backend)
}

// Save reads the tables, or all tables of package ruleset if none is named. A table that nobody has used yet
// is not an error, and not in the result.
//
// A table in which nft put something that iptables has no words for is an error: nobody could say then which
// of our chains and jumps are there.
func (k *Kernel) Save(ctx context.Context, tables ...ruleset.Table) (ruleset.Saved, error) {
	// Without -t the tools print the tables that exist; with it, the legacy one would make the kernel load
	// the table.
	var saved ruleset.Saved
	err := read(ctx, k.SaveCommand, nil, func(r io.Reader) (err error) {
		saved, err = ruleset.Parse(r)
		return err
	})
	if err != nil {
		return ruleset.Saved{}, fmt.Errorf("read %v rules (%v): %w", k.Family, k.Backend, err)
	}
	if len(tables) > 0 {
		keep(&saved, tables)
	}
	for _, name := range saved.Incompatible {
		if t, known := ruleset.ParseTable(name); known && (len(tables) == 0 || slices.Contains(tables, t)) {
			return ruleset.Saved{}, fmt.Errorf("read %v rules (%v): table %s has rules or sets of nft that iptables "+
				"cannot print: move them to a table of their own, or choose the other backend", k.Family, k.Backend, name)
		}
	}
	return saved, nil
}

// keep drops the other tables.
func keep(s *ruleset.Saved, tables []ruleset.Table) {
	s.Tables = slices.DeleteFunc(s.Tables, func(t ruleset.Table) bool { return !slices.Contains(tables, t) })
	for c := range s.Rules {
		if !slices.Contains(tables, c.Table) {
			delete(s.Rules, c)
		}
	}
}

// Restore runs iptables-restore --noflush with what write writes as its input, which is not kept in memory.
// Nothing is started before the first byte. After a refusal write is called again, to find the text of the
// refused line, so it must write the same each time.
//
// Counters of rules that the input does not touch survive on both backends; --counters would only be about
// counters in the input.
//
// Errors: *RestoreError if the input was refused; what write returns if that was the reason. Whatever the
// error, the COMMITs before it hold.
func (k *Kernel) Restore(ctx context.Context, write func(io.Writer) error) error {
	p := &process{ctx: ctx, path: k.RestoreCommand, args: []string{"-w", lockWait, "--noflush"}}
	writeErr := write(p)
	if writeErr != nil && !brokenPipe(writeErr) {
		_ = p.wait() // "COMMIT expected": what was begun is not committed
		return writeErr
	}
	err := p.wait()
	switch failed, ok := errors.AsType[*CommandError](err); {
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("write %v rules (%v): %w", k.Family, k.Backend, context.Cause(ctx))
	case ok && failed.Exit > 0:
		return k.refusal(failed, write)
	case err != nil:
		return err
	case writeErr != nil: // it ended well without reading all
		return fmt.Errorf("write %v rules (%v): %w", k.Family, k.Backend, writeErr)
	}
	return nil
}

// Apply writes the batch, and says how much that was. An empty batch starts no process.
func (k *Kernel) Apply(ctx context.Context, b delta.Batch) (delta.Written, error) {
	if b.Empty() {
		return delta.Written{}, nil
	}
	var written delta.Written
	var waited time.Duration
	if k.Backend == Legacy {
		waited = awaitLock(ctx)
	}
	err := k.Restore(ctx, func(w io.Writer) error {
		n, err := b.Encode(w, k.Family, k.Backend.Strategy())
		if written.Bytes == 0 { // not when a refused line is looked for
			written = n
		}
		return err
	})
	written.LockWait = waited
	return written, err
}

// refusal finds out what was refused.
func (k *Kernel) refusal(failed *CommandError, write func(io.Writer) error) *RestoreError {
	e := &RestoreError{Family: k.Family, Backend: k.Backend, Exit: failed.Exit, Stderr: failed.Stderr}
	e.Line = refusedLine(e.Stderr)
	if e.Line == 0 {
		return e
	}
	f := finder{want: e.Line}
	f.jump, _ = missingChain(e.Stderr)
	if err := write(&f); errors.Is(err, errFound) {
		e.Line, e.Text = f.n, f.line
	}
	return e
}
