package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"espalier/test/bench/feed"
	"espalier/test/bench/report"
)

// busyPause is the least time between two changes of the watched Service where others change all the time. How much
// longer it is, is random.
const busyPause = 100 * time.Millisecond

// idle changes the endpoint of one Service again and again, and nothing else.
func (r *run) idle(ctx context.Context) (string, error) {
	probe := r.cluster.Probe(0)
	if missed, err := r.put(ctx, probe); err != nil || missed != "" {
		r.result.Idle.Missed = missed
		return missed, err
	}
	if err := r.settle(ctx); err != nil {
		return "", err
	}
	from := r.mark()
	err := r.changes(ctx, probe, &r.result.Idle, r.Pause)
	r.result.IdleCost = r.since(from, len(r.result.Idle.Samples))
	r.result.Memory.Settled = r.meter.Memory().Now
	return summary(r.result.Idle), err
}

// busy does the same while other Services change all the time.
func (r *run) busy(ctx context.Context) (string, error) {
	if r.Churn == 0 {
		r.result.Busy.Missed = "no churn"
		return r.result.Busy.Missed, nil
	}
	probe := r.cluster.Probe(0)
	from := r.mark()
	ctx2, stop := context.WithCancel(ctx)
	var churning sync.WaitGroup
	others := 0
	churning.Go(func() { others = r.churn(ctx2) })
	err := r.changes(ctx, probe, &r.result.Busy, busyPause)
	stop()
	churning.Wait()
	if err != nil {
		return "", err
	}
	if err := r.settle(ctx); err != nil { // what is left belongs to these changes
		return "", err
	}
	r.result.BusyCost = r.since(from, others+len(r.result.Busy.Samples))
	return summary(r.result.Busy), nil
}

// churn changes other Services until ctx ends, and returns how often.
func (r *run) churn(ctx context.Context) int {
	tick := time.NewTicker(time.Duration(float64(time.Second) / r.Churn))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case now := <-tick.C:
			r.cluster.Churn(now)
		case <-ctx.Done():
			return n
		}
	}
}

// changes switches a probe between two endpoints for the Duration, and measures each time until a connection
// ends at the new one.
func (r *run) changes(ctx context.Context, probe feed.Probe, into *report.Spread, pause time.Duration) error {
	random := rand.New(rand.NewPCG(1, 1))
	at, err := r.other(probe)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(r.Duration)
	for ; time.Now().Before(deadline); at ^= 'A' ^ 'B' {
		select {
		case <-time.After(pause + time.Duration(random.Int64N(int64(time.Second/2)))):
		case <-ctx.Done():
			return ctx.Err()
		}
		took, err := r.change(ctx, probe, at, func() { probe.Switch(at) })
		if errors.Is(err, errLate) {
			into.Missed = fmt.Sprintf("not within %s", r.Patience)
			return nil
		}
		if err != nil {
			return err
		}
		into.Samples = append(into.Samples, took)
	}
	return nil
}

// other returns the endpoint, A or B, that connections to the probe do not end at.
func (r *run) other(probe feed.Probe) (byte, error) {
	reply, err := r.bed.Dial(probe.Frontend)
	if err != nil {
		return 0, fmt.Errorf("find the endpoint of %s: %w", probe.Name, err)
	}
	if reply.By.Addr() == probe.Endpoint('A') {
		return 'B', nil
	}
	return 'A', nil
}

// change makes a change and waits until connections to the probe end at an endpoint.
func (r *run) change(ctx context.Context, probe feed.Probe, endpoint byte, do func()) (time.Duration, error) {
	want := probe.Endpoint(endpoint)
	begin := time.Now()
	do()
	err := r.until(ctx, r.Patience, 2*time.Millisecond, func() bool {
		reply, err := r.bed.Dial(probe.Frontend)
		r.result.Attempted++
		if err != nil {
			r.result.Unserved++
			return false
		}
		return reply.By.Addr() == want
	})
	return time.Since(begin), err
}

func summary(s report.Spread) string {
	if len(s.Samples) == 0 {
		return s.Missed
	}
	text := fmt.Sprintf("p50 %s, p99 %s of %d", s.Quantile(.5).Took.Round(10*time.Microsecond), s.Quantile(.99).Took.Round(10*time.Microsecond), len(s.Samples))
	if s.Missed != "" {
		text += ", then " + s.Missed
	}
	return text
}
