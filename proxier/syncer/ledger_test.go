package syncer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"espalier/proxier/delta"
	"espalier/proxier/generation"
	"espalier/proxier/ruleset"
)

// fakeTables are counted as the backends do it.
type fakeTables struct {
	fakeKernel
	legacy  bool
	commits uint32 // nft
	entries uint32 // legacy
	content uint64
	during  func() // what happens while a batch is applied
	refused error
	unread  error
	prints  int
}

func (f *fakeTables) Read(context.Context) (generation.Stamp, error) {
	if f.legacy {
		return generation.OfLegacy(map[ruleset.Table]generation.Size{ruleset.Nat: {Entries: f.entries}}), f.unread
	}
	return generation.OfNFT(1000 + f.commits), f.unread
}

func (f *fakeTables) Print(context.Context) (generation.Print, error) {
	f.prints++
	return generation.Print{f.content}, f.unread
}

func (f *fakeTables) Apply(context.Context, delta.Batch) (delta.Written, error) {
	if f.during != nil {
		f.during()
	}
	f.write(3)
	return delta.Written{Commits: 1}, f.refused
}

// write is a COMMIT that makes a table longer.
func (f *fakeTables) write(entries uint32) {
	f.commits++
	f.entries += entries
	f.content++
}

var oneCommit = delta.Batch{Write: ruleset.Ruleset{{Table: ruleset.Nat, Name: ruleset.Services}: nil}}

func TestLedgerTellsWritesOfOthersFromOwn(t *testing.T) {
	for _, test := range []struct {
		name   string
		happen func(f *fakeTables, write func())
		// whether somebody else is seen to have written
		nft, legacy bool
	}{
		{"nothing", func(*fakeTables, func()) {}, false, false},
		{"own writes", func(_ *fakeTables, write func()) { write(); write() }, false, false},
		{"a write of somebody", func(f *fakeTables, _ func()) { f.write(1) }, true, true},
		{"somebody before an own write", func(f *fakeTables, write func()) { f.write(1); write() }, true, true},
		{"somebody after an own write", func(f *fakeTables, write func()) { write(); f.write(1) }, true, true},
		{"somebody between own writes", func(f *fakeTables, write func()) { write(); f.write(1); write() }, true, true},
		{"somebody takes back what he wrote", func(f *fakeTables, _ func()) { f.write(1); f.write(^uint32(0)) }, true, true},
		{"a write that leaves a table as long as it was", func(f *fakeTables, _ func()) { f.write(0) }, true, true},
		{"the same after an own write", func(f *fakeTables, write func()) { write(); f.write(0) }, true, true},
		{"an own write that was refused half way", func(f *fakeTables, write func()) { f.refused = errRefused; write() }, false, false},
		{"somebody during an own write", func(f *fakeTables, write func()) { f.during = func() { f.write(1) }; write() }, true, false},
	} {
		for _, legacy := range []bool{false, true} {
			name, want := test.name+", nft", test.nft
			if legacy {
				name, want = test.name+", legacy", test.legacy
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := &fakeTables{legacy: legacy, entries: 4}
					l := NewLedger(f)
					kernel := l.Guard(f)
					before := foreign(t, l)
					test.happen(f, func() { _, _ = kernel.Apply(t.Context(), oneCommit) })
					time.Sleep(lastPrint)
					after := foreign(t, l)
					if seen := after.Writes != before.Writes; seen != want {
						t.Errorf("somebody else is seen: %v, want %v", seen, want)
					}
					if doubt := after.Doubts != before.Doubts; doubt != (f.refused != nil) {
						t.Errorf("own writes are in doubt: %v, want that if one was refused", doubt)
					}
					if again := foreign(t, l); again != foreign(t, l) {
						t.Error("it is seen again without a write")
					}
				})
			})
		}
	}
}

func TestLedgerDoesNotBlameOthersForWhatIsTried(t *testing.T) {
	f := &fakeTables{}
	l := NewLedger(f)
	before := foreign(t, l)
	l.During(t.Context(), func() { f.write(1); f.write(^uint32(0)) })
	if after := foreign(t, l); after.Writes != before.Writes || after.Doubts == before.Doubts {
		t.Errorf("%+v, before %+v; want a doubt, and no write of others", after, before)
	}
	before = foreign(t, l)
	f.write(1)
	if after := foreign(t, l); after.Writes == before.Writes {
		t.Error("a write of others after that is missed")
	}
}

func TestLedgerReadsContentOfLegacyTablesOnceASecond(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeTables{legacy: legacy}
			l := NewLedger(f)
			for range 40 { // ten seconds
				foreign(t, l)
				time.Sleep(watchInterval)
			}
			if want := map[bool]int{true: 10}[legacy]; f.prints != want {
				t.Errorf("legacy %v: content read %d times, want %d", legacy, f.prints, want)
			}
		})
	}
}

func TestLedgerThatCannotReadSaysSoAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTables{}
		l := NewLedger(f)
		before := foreign(t, l)
		f.unread = errors.New("no buffer")
		if _, err := l.Foreign(t.Context()); !errors.Is(err, f.unread) {
			t.Errorf("error %v, want the one of the probe", err)
		}
		f.write(1)
		f.unread = nil
		if foreign(t, l) == before {
			t.Error("a write that came while nothing could be read was missed")
		}
	})
}

func foreign(t *testing.T, l *Ledger) Others {
	t.Helper()
	n, err := l.Foreign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}
