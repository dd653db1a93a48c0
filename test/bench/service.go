package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"espalier/test/bench/feed"
	"espalier/test/bench/report"
)

// put makes a probe and waits until it answers. It returns in words that it did not.
func (r *run) put(ctx context.Context, probe feed.Probe) (missed string, err error) {
	probe.Put('A')
	err = r.until(ctx, r.Patience, 2*time.Millisecond, func() bool { return r.answers(probe.Frontend) })
	if errors.Is(err, errLate) {
		return fmt.Sprintf("not within %s", r.Patience), nil
	}
	return "", err
}

// newAndRemoved makes Services that did not exist, and removes them.
func (r *run) newAndRemoved(ctx context.Context) (string, error) {
	const most = 10
	added, removed := &r.result.New, &r.result.Removed
	deadline := time.Now().Add(r.Duration)
	for n := range most {
		if time.Now().After(deadline) {
			break
		}
		probe := r.cluster.Probe(1 + n)
		if err := r.appear(ctx, added, func() { probe.Put('A') }, func() bool { return r.answers(probe.Frontend) }); err != nil {
			return "", err
		}
		if err := r.appear(ctx, removed, probe.Remove, func() bool { return !r.answers(probe.Frontend) }); err != nil {
			return "", err
		}
		if added.Missed != "" || removed.Missed != "" {
			break
		}
	}
	return fmt.Sprintf("new %s; removed %s", summary(*added), summary(*removed)), nil
}

// appear waits, makes a change, and measures until it shows.
func (r *run) appear(ctx context.Context, into *report.Spread, do func(), shows func() bool) error {
	select {
	case <-time.After(r.Pause):
	case <-ctx.Done():
		return ctx.Err()
	}
	begin := time.Now()
	do()
	err := r.until(ctx, r.Patience, 2*time.Millisecond, shows)
	if errors.Is(err, errLate) {
		into.Missed = fmt.Sprintf("not within %s", r.Patience)
		return nil
	}
	if err == nil {
		into.Samples = append(into.Samples, time.Since(begin))
	}
	return err
}
