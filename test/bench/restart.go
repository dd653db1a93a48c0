package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"espalier/test/bench/report"
)

// restart ends the proxy and starts it again, twice: first nothing changes meanwhile, then one endpoint does.
func (r *run) restart(ctx context.Context) (string, error) {
	result := &r.result.Restart
	if len(r.silent(r.sample(16))) > 0 {
		result.InStep.Missed = "Services do not answer"
		return result.InStep.Missed, nil
	}
	if err := r.settle(ctx); err != nil {
		return "", err
	}
	stop := r.connect(ctx)
	err := r.again(ctx)
	result.Tried, result.Lost = stop()
	if err != nil {
		return "", err
	}
	cost := r.since(mark{generation: r.generation}, 0)
	result.Commits, result.Written, result.Done = cost.Commits, cost.Written, true

	probe := r.cluster.Probe(0)
	next, err := r.other(probe)
	if err != nil {
		return "", err
	}
	r.stop()
	probe.Switch(next)
	if err := r.start(); err != nil {
		return "", err
	}
	_, err = r.change(ctx, probe, next, func() {})
	result.InStep = ended(r.process.Started, time.Now(), err, r.Patience)
	if err != nil && !errors.Is(err, errLate) {
		return "", err
	}
	return restartSummary(*result), nil
}

// again restarts the proxy and waits until it has done what it does at a start.
func (r *run) again(ctx context.Context) error {
	r.stop()
	r.generation = r.bed.Generation()
	if err := r.start(); err != nil {
		return err
	}
	// A process that has just begun may not have used any time yet.
	if err := r.until(ctx, r.Patience, 50*time.Millisecond, func() bool { return time.Since(r.process.Started) > time.Second }); err != nil {
		return err
	}
	return r.settle(ctx)
}

// connect connects to some Services in turn until stop is called, which tells how often, and how often in vain.
func (r *run) connect(ctx context.Context) (stop func() (tried, lost int)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	var tried, lost int
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		targets := r.sample(100)
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if !r.answers(targets[tried%len(targets)]) {
				lost++
			}
			tried++
		}
	}()
	return func() (int, int) {
		cancel()
		<-done
		return tried, lost
	}
}

func restartSummary(r report.Restart) string {
	commits := "unknown"
	if r.Commits != nil {
		commits = fmt.Sprint(*r.Commits)
	}
	step := r.InStep.Missed
	if step == "" {
		step = r.InStep.Took.String()
	}
	return fmt.Sprintf("in step after %s; %s commits, %d of %d connections lost", step, commits, r.Lost, r.Tried)
}
