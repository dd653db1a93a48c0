package bench

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"espalier/test/bench/bed"
	"espalier/test/bench/feed"
	"espalier/test/bench/report"
)

// run is one proxy on one node.
type run struct {
	Config
	bed     *bed.Bed
	cluster *feed.Cluster
	argv    []string
	say     *Progress
	title   string
	result  *report.Run

	process *bed.Process
	meter   *bed.Meter
	// generation is that of nf_tables when the process was started last.
	generation uint32
}

// stages measures one thing after the other. Without a cold start there is nothing else to measure.
func (r *run) stages(ctx context.Context) error {
	if err := r.stage(ctx, "cold start", r.coldStart); err != nil {
		return err
	}
	if !r.result.ColdStart.Measured() {
		return nil
	}
	for _, s := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"first packets", r.firstPackets},
		{"endpoint changes, idle", r.idle},
		{"new and removed Services", r.newAndRemoved},
		{"endpoint changes, churn", r.busy},
		{"restart", r.restart},
		{"repair", r.repair}, // the last: not every proxy recovers from it
	} {
		if err := r.stage(ctx, s.name, s.do); err != nil {
			return err
		}
		r.remember()
	}
	return nil
}

// stage runs one of them. What it says about its result is printed.
func (r *run) stage(ctx context.Context, name string, do func(context.Context) (string, error)) error {
	r.say.Begin("%s: %s", r.title, name)
	said, err := do(ctx)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = r.process.Running()
	}
	if err != nil {
		return err
	}
	r.say.End("%s: %s: %s", r.title, name, said)
	return nil
}

// start executes the proxy, whose memory is watched from now on.
func (r *run) start() error {
	var err error
	if r.process, err = r.bed.Start(r.argv); err != nil {
		return err
	}
	r.meter = r.process.Watch()
	return nil
}

// stop ends it.
func (r *run) stop() {
	if r.process == nil {
		return
	}
	r.remember()
	r.meter.Stop()
	r.process.Stop()
	r.process = nil
}

// remember keeps the highest of what memory has been.
func (r *run) remember() {
	if r.process == nil {
		return
	}
	now, m := r.meter.Memory(), &r.result.Memory
	m.Peak, m.Total = max(m.Peak, now.Peak), max(m.Total, now.Total)
}

// errLate says that something did not happen in time.
var errLate = errors.New("not in time")

// until calls done at least every interval until it is true. Else the error is errLate, or that of ctx, or how the process ended.
func (r *run) until(ctx context.Context, patience, interval time.Duration, done func() bool) error {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			return errLate
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if r.process != nil {
			if err := r.process.Running(); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle waits until the proxy has nothing more to do: half a second without work worth mentioning.
func (r *run) settle(ctx context.Context) error {
	const look, little, steps = 100 * time.Millisecond, 10 * time.Millisecond, 6
	last, quiet := r.process.Usage().CPU, 0
	err := r.until(ctx, r.Patience, look, func() bool {
		now := r.process.Usage().CPU
		if now-last <= little {
			quiet++
		} else {
			quiet = 0
		}
		last = now
		return quiet > steps
	})
	if errors.Is(err, errLate) {
		return nil // it never rests; so be it
	}
	return err
}

// answers reports whether a connection is answered.
func (r *run) answers(to netip.AddrPort) bool {
	_, err := r.bed.Dial(to)
	return err == nil
}

// mark is a moment from which a stage is counted.
type mark struct {
	usage      bed.Usage
	generation uint32
	commits    tally // from the log, as are rules
	rules      tally
}

func (r *run) mark() mark {
	m := mark{usage: r.process.Usage(), generation: r.bed.Generation()}
	m.commits, m.rules = r.logged()
	return m
}

// since returns what was used from a mark on, for a number of changes.
func (r *run) since(m mark, changes int) report.Cost {
	now := r.mark()
	used := now.usage.Sub(m.usage)
	c := report.Cost{
		CPU: used.CPU, Written: used.Written, Changes: changes,
		Commits: now.commits.since(m.commits), Rules: now.rules.since(m.rules),
	}
	if r.bed.Backend == "nft" && now.generation > 0 {
		n := int(now.generation - m.generation)
		c.Commits = &n
	}
	return c
}
