package syncer

import (
	"context"
	"math/rand/v2"
	"time"
)

// Run synchronises until ctx ends, and then returns nil. It leaves the rules in place.
func (s *Syncer) Run(ctx context.Context) error {
	var earliest time.Time // before this, no sync starts
	retry := time.NewTimer(0)
	retry.Stop()
	watch := time.NewTicker(watchInterval)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Source.Changed():
		case <-s.Resettle:
		case <-retry.C:
		case <-watch.C:
			if !s.suspicious(ctx) {
				continue
			}
			s.planner = nil // what it says of the kernel may no longer be so
		}
		if !sleepUntil(ctx, earliest) {
			return nil
		}
		retry.Stop()
		s.drain()
		step, since, complete := s.Source.Step()
		if !complete {
			continue // Changed will tell
		}
		report := s.sync(ctx, step, since)
		if ctx.Err() != nil && report.Err != nil {
			return nil // ended while reading
		}
		s.Report(report)
		if again, ok := s.nextTrial(); ok {
			retry.Reset(time.Until(again))
		}
		if report.Err != nil {
			retry.Reset(report.Retry)
		}
		earliest = time.Now().Add(s.pause(report))
	}
}

// drain takes the tokens of what came while this sync waited for its turn. It will have all of that; a token that is left
// would bring about another one, with nothing to do.
func (s *Syncer) drain() {
	for {
		select {
		case <-s.Source.Changed():
		case <-s.Resettle:
		default:
			return
		}
	}
}

// pause returns how long to leave the kernel alone after a sync.
func (s *Syncer) pause(r Report) time.Duration {
	pause := s.MinInterval
	if pause == 0 {
		pause = min(r.Writing/2, time.Second)
	}
	if r.Err != nil {
		// A new change may be the cure, so it need not wait for the retry; but changes in quick succession
		// must not hammer a kernel that refuses.
		pause = max(pause, min(r.Retry, time.Second))
	}
	return pause
}

const (
	// watchInterval is how often it is asked whether somebody else wrote. It takes microseconds.
	watchInterval = 250 * time.Millisecond
	// lookShare is how much more time than for reading the kernel back passes before the next read, after one that
	// found nothing wrong: others write to tables and chains of their own all the time.
	lookShare = 5
	// blindLook is how often the kernel is read back where nothing tells whether somebody wrote, and lastLook how
	// often at least: what tells does not see everything.
	blindLook = 30 * time.Second
	lastLook  = 15 * time.Minute
)

// suspicious reports whether the kernel may hold something else than what was written, so that it is worth to be
// read back.
func (s *Syncer) suspicious(ctx context.Context) bool {
	if s.planner == nil {
		return false // it will be read back anyway
	}
	if time.Now().Before(s.calm) {
		return false
	}
	age := time.Since(s.looked)
	if s.Foreign == nil {
		return age >= blindLook
	}
	foreign, err := s.Foreign(ctx)
	if err != nil {
		return age >= blindLook
	}
	return foreign != s.foreign || age >= lastLook
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
