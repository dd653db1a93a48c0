package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"espalier/test/bench/report"
)

// coldStart starts the proxy on a node without rules.
func (r *run) coldStart(ctx context.Context) (string, error) {
	generation := r.bed.Generation()
	if err := r.start(); err != nil {
		return "", err
	}
	begin := r.process.Started
	err := r.until(ctx, r.Patience, 5*time.Millisecond, func() bool { return r.answers(r.cluster.Targets[0].Frontend) })
	r.result.FirstAnswer = ended(begin, time.Now(), err, r.Patience)
	if err != nil && !errors.Is(err, errLate) {
		return "", err
	}
	last, err := r.allAnswer(ctx, r.Patience-time.Since(begin))
	r.result.ColdStart = ended(begin, last, err, r.Patience)
	if errors.Is(err, errLate) {
		r.result.ColdCost = r.since(mark{generation: generation}, 0)
		return r.result.ColdStart.Missed, nil
	}
	if err != nil {
		return "", err
	}
	if err := r.settle(ctx); err != nil {
		return "", err
	}
	r.result.ColdCost = r.since(mark{generation: generation}, 0)
	if rules, err := r.bed.Rules(); err == nil { // else the table has no number there
		r.result.Rules = &rules
	}
	return fmt.Sprintf("default/kubernetes after %s, all after %s", r.result.FirstAnswer.Took, r.result.ColdStart.Took), nil
}

// ended makes a result of how waiting ended.
func ended(begin, end time.Time, err error, patience time.Duration) report.Outcome {
	if errors.Is(err, errLate) {
		return report.Outcome{Missed: fmt.Sprintf("not within %s", patience)}
	}
	if err != nil {
		return report.Outcome{Missed: err.Error()}
	}
	return report.Outcome{Took: end.Sub(begin).Round(time.Microsecond)}
}

// allAnswer waits until all Services answer, and returns when the last one did. It asks few of them until those
// answer, then many; as asking many takes time, that is no time that the last one took, unless one does not answer.
func (r *run) allAnswer(ctx context.Context, patience time.Duration) (time.Time, error) {
	deadline := time.Now().Add(patience)
	few, many := r.sample(16), r.sample(2000)
	for asked := few; ; {
		var moment time.Time
		err := r.until(ctx, time.Until(deadline), 10*time.Millisecond, func() bool {
			asked = slices.DeleteFunc(asked, r.answers)
			moment = time.Now()
			return len(asked) == 0
		})
		if err != nil {
			return moment, err
		}
		if asked = r.silent(many); len(asked) == 0 {
			return moment, nil
		}
	}
}

// silent returns those that do not answer.
func (r *run) silent(all []netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(all), r.answers)
}

// sample returns the frontends of n Services: the first and last ones by address and those in between at random.
func (r *run) sample(n int) []netip.AddrPort {
	targets := r.cluster.Targets
	pick := []netip.AddrPort{targets[0].Frontend, targets[len(targets)-1].Frontend}
	random := rand.New(rand.NewPCG(uint64(n), 0)) // the same for all proxies
	for _, i := range random.Perm(len(targets))[:min(n, len(targets))] {
		pick = append(pick, targets[i].Frontend)
	}
	return pick
}
