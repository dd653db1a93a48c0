package syncer

import (
	"context"
	"sync"
	"time"

	"espalier/proxier/delta"
	"espalier/proxier/generation"
)

// A Ledger finds out whether somebody else wrote to the tables: it compares what the kernel counts with the writes
// that it was told of. One Ledger serves all families whose writes the kernel counts together, which with nft are
// both, and with the legacy backend one.
type Ledger struct {
	probe probe

	mu     sync.Mutex
	base   generation.Stamp // the zero Stamp: not known
	own    uint32           // own commits since base
	flying int              // writes that are under way
	others Others

	// Where Stamps do not tell all, the content is compared too, as often as that is cheap.
	print   generation.Print
	printed bool          // print is that of the tables as we left them
	looked  time.Time     // when it was read
	looking time.Duration // what that took
}

// Others is what is known of writes to the tables that were none of ours. When it changes, the kernel is worth a look.
type Others struct {
	// Writes is how often others have written.
	Writes uint64
	// Doubts is how often an own write failed, so that nobody knows how much of it the kernel has.
	Doubts uint64
}

// A probe reads how the tables are: a Stamp in a few microseconds, a Print in milliseconds.
type probe interface {
	Read(context.Context) (generation.Stamp, error)
	Print(context.Context) (generation.Print, error)
}

const (
	// printShare: reading the content takes at most one part in so many of the time; after own writes, which make a
	// new beginning, writeShare.
	printShare = 50
	writeShare = 20
	// firstPrint and lastPrint bound the time between two readings of the content.
	firstPrint = time.Second
	lastPrint  = 30 * time.Second
)

// NewLedger returns a Ledger on a probe, which it uses from one goroutine at a time.
func NewLedger(p probe) *Ledger { return &Ledger{probe: p} }

// Foreign returns what is known of others. While an own write is under way nobody can tell; it will show in a later
// call.
func (l *Ledger) Foreign(ctx context.Context) (Others, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying > 0 {
		return l.others, nil
	}
	if err := l.settle(ctx, true); err != nil {
		return l.others, err
	}
	if time.Since(l.looked) >= min(max(firstPrint, printShare*l.looking), lastPrint) {
		l.compareContent(ctx)
	}
	return l.others, nil
}

// settle compares, unless it is known that nothing can be said, and begins anew from how the tables are now.
func (l *Ledger) settle(ctx context.Context, compare bool) error {
	now, err := l.probe.Read(ctx)
	if err != nil {
		return err
	}
	if compare && l.base != (generation.Stamp{}) {
		n, counted := now.Commits(l.base)
		if counted && n != l.own || !counted && now != l.base {
			l.others.Writes++
			l.printed = false
		}
	}
	l.base, l.own = now, 0
	return nil
}

// compareContent reads the content of the tables, where that tells more than a Stamp. What cannot be read now,
// because the tables are being exchanged, is compared later.
func (l *Ledger) compareContent(ctx context.Context) {
	if _, counted := l.base.Generation(); counted {
		return
	}
	start := time.Now()
	print, err := l.probe.Print(ctx)
	l.looked, l.looking = start, time.Since(start)
	if err != nil {
		return
	}
	if l.printed && print != l.print {
		l.others.Writes++
	}
	l.print, l.printed = print, true
}

// begin notes that an own write begins.
func (l *Ledger) begin(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying == 0 {
		_ = l.settle(ctx, true) // what cannot be read now is compared later
	}
	l.flying++
}

// end notes that an own write has ended, after so many commits. After a failed one nobody knows how many they were.
func (l *Ledger) end(ctx context.Context, commits int, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying--
	l.own += uint32(commits)
	if failed {
		l.others.Doubts++
		l.base = generation.Stamp{}
	}
	// Without a count, what the tables are after the own write is all that there is to compare with.
	if _, counted := l.base.Generation(); !counted && l.flying == 0 {
		l.printed = false
		if l.settle(ctx, false) == nil && time.Since(l.looked) >= writeShare*l.looking {
			l.compareContent(ctx) // at once, so that little can come in between
		}
	}
}

// During runs what writes to the tables of which nobody counts the COMMITs, to try what the kernel can do, say. That is
// no write of others, but leaves doubts.
func (l *Ledger) During(ctx context.Context, write func()) {
	l.begin(ctx)
	write()
	l.end(ctx, 0, true)
}

// Guard returns a kernel whose writes the Ledger knows.
func (l *Ledger) Guard(k kernel) *Guarded { return &Guarded{k, l} }

// Guarded is a kernel that tells a Ledger of each write.
type Guarded struct {
	kernel
	ledger *Ledger
}

// Apply writes a batch.
func (g *Guarded) Apply(ctx context.Context, b delta.Batch) (delta.Written, error) {
	g.ledger.begin(ctx)
	written, err := g.kernel.Apply(ctx, b)
	g.ledger.end(ctx, written.Commits, err != nil)
	return written, err
}
