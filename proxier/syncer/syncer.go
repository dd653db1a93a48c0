// Package syncer keeps the kernel's rules of one IP family equal to the plan: wait for a change, plan, find the
// difference, write it, report.
//
// It knows when to do these steps and what to remember between them. It does not know how rules are planned,
// how the kernel is reached, or who wants to know what happened: all of that is handed in.
//
// The one rule to respect: one goroutine owns a Syncer. What others learn, they learn from Reports.
package syncer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// A kernel is where the rules of one family live.
type kernel interface {
	// Save reads back all chains of the tables, those of others and the built-in ones included.
	Save(ctx context.Context, tables ...ruleset.Table) (ruleset.Saved, error)
	// Apply writes a batch. After an error, any part of it may have been committed.
	Apply(ctx context.Context, b delta.Batch) error
}

// A source tells what the cluster looks like.
type source interface {
	// Changed receives when a new snapshot is worth a look. A thousand changes may be one token.
	Changed() <-chan struct{}
	// Snapshot returns the newest state, and when the oldest change in it arrived that no snapshot had before;
	// false as long as the state is not complete.
	Snapshot() (s model.Snapshot, since time.Time, complete bool)
}

// Syncer synchronises one family. Fill in all fields, then call Run once.
type Syncer struct {
	Family ipproto.Family
	Kernel kernel
	Source source
	// Plan computes the rules. It fails as a whole only where planning without something would be dangerous.
	Plan func(model.Snapshot) (ruleset.Ruleset, []model.Problem, error)
	// Report is called after every sync, also after one that found nothing to do or failed.
	Report func(Report)
	// MinInterval is the least time between the end of a sync and the start of the next.
	MinInterval time.Duration
	// RetryInterval is the longest time between a failed sync and the next attempt, which comes sooner at first.
	RetryInterval time.Duration

	have  ruleset.Ruleset // what the kernel holds; nil: not known
	state state
}

// state is what the loop remembers of the syncs so far.
type state struct {
	failures int       // in a row
	since    time.Time // arrival of the oldest change that is not in the kernel
}

// A Report says what one sync did.
type Report struct {
	Family   ipproto.Family
	Snapshot model.Snapshot
	Problems []model.Problem
	// Since is when the oldest change arrived that this sync was to bring into the kernel; zero if none was.
	Since time.Time
	// Read: the rules were read back first. Planning, Reading and Writing are the times of the stages.
	Read                       bool
	Planning, Reading, Writing time.Duration
	// What was written; nothing: the kernel was right already and was not touched.
	Written, Deleted, Jumps int
	// Held are references of others to chains that should have been deleted.
	Held []delta.Reference
	// Err is why the sync failed. It will be tried again at Retry.
	Err   error
	Retry time.Duration
}

// Run synchronises until ctx ends, and then returns nil. It leaves the rules in place.
func (s *Syncer) Run(ctx context.Context) error {
	var earliest time.Time // before this, no sync starts
	retry := time.NewTimer(0)
	retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Source.Changed():
		case <-retry.C:
		}
		if !sleepUntil(ctx, earliest) {
			return nil
		}
		retry.Stop()
		snapshot, since, complete := s.Source.Snapshot()
		if !complete {
			continue // its Changed will tell
		}
		report := s.sync(ctx, snapshot, since)
		if ctx.Err() != nil && report.Err != nil {
			return nil // ended while reading
		}
		s.Report(report)
		pause := s.MinInterval
		if report.Err != nil {
			retry.Reset(report.Retry)
			// A new change may be the cure, so it need not wait for the retry; but changes in quick succession
			// must not hammer a kernel that refuses.
			pause = max(pause, min(report.Retry, time.Second))
		}
		earliest = time.Now().Add(pause)
	}
}

// sync brings one snapshot into the kernel.
//
// After a failure it forgets what the kernel holds, so that the next one reads it back: of one input, one
// table may have been committed and the other not.
func (s *Syncer) sync(ctx context.Context, snapshot model.Snapshot, since time.Time) Report {
	if s.state.since.IsZero() || !since.IsZero() && since.Before(s.state.since) {
		s.state.since = since
	}
	r := Report{Family: s.Family, Snapshot: snapshot, Since: s.state.since}
	r.Err = s.write(ctx, &r)
	if r.Err != nil {
		s.have = nil
		r.Retry = backoff(s.state.failures, s.RetryInterval)
		s.state.failures++
		return r
	}
	s.state = state{}
	return r
}

func (s *Syncer) write(ctx context.Context, r *Report) error {
	start := time.Now()
	want, problems, err := s.Plan(r.Snapshot)
	r.Planning, r.Problems = time.Since(start), problems
	if err != nil {
		return fmt.Errorf("plan %s rules: %w", s.Family, err)
	}
	if s.have == nil {
		start = time.Now()
		saved, err := s.Kernel.Save(ctx, ruleset.Filter, ruleset.Nat)
		r.Read, r.Reading = true, time.Since(start)
		if err != nil {
			return fmt.Errorf("read back %s rules: %w", s.Family, err)
		}
		s.have = saved.Rules
	}
	keepFirewall(s.have, want)
	batch := delta.Between(s.have, want).Attach(s.have, ruleset.Jumps())
	r.Written, r.Deleted, r.Jumps, r.Held = len(batch.Write), len(batch.Delete), len(batch.Jumps), batch.Held
	if batch.Empty() {
		return nil
	}
	start = time.Now()
	// A write that has begun is finished, also when the process is asked to end.
	err = s.Kernel.Apply(context.WithoutCancel(ctx), batch)
	r.Writing = time.Since(start)
	if err != nil {
		return fmt.Errorf("write %d chains of %s rules: %w", len(batch.Write), s.Family, err)
	}
	s.have = delta.Apply(s.have, batch)
	return nil
}

// keepFirewall lets KUBE-FIREWALL, which the kubelet fills too, stay as it is where the plan has no rules for it.
func keepFirewall(have, want ruleset.Ruleset) {
	c := ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Firewall}
	if _, planned := want[c]; !planned {
		want[c] = have[c]
	}
}

// backoff returns how long to wait after a failure that followed n others: from a quarter of a second,
// doubled each time up to longest, less up to a third at random, so that the families and the nodes of a cluster
// do not try in step.
func backoff(n int, longest time.Duration) time.Duration {
	const first = 250 * time.Millisecond
	d := longest
	if n < 20 && first<<n < longest {
		d = first << n
	}
	return d - rand.N(d/3+1)
}

// sleepUntil waits for a moment; false: ctx ended first.
func sleepUntil(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
