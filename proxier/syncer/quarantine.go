package syncer

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"espalier/proxier/delta"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
)

// iptables-restore is all or nothing: one rule that the kernel refuses would keep all Services of the node from
// being programmed (k/k#142068, kubernetes-sigs/kind#1740). So the Services whose rules are refused are found and
// left out, until they change, and are tried again now and then.

// Quarantined is a Service that is not programmed because the kernel refuses its rules.
type Quarantined struct {
	Since time.Time
	// Err is what the kernel, or rather the tool, said.
	Err error
	// Again is when it is tried again without a change.
	Again time.Time

	entry  model.Entry
	trials int
	trying bool // in the plan that is being written
}

const (
	firstTrial = time.Minute
	lastTrial  = time.Hour
)

// quarantine leaves the Services out from now on.
func (s *Syncer) quarantine(names []model.ServiceName, services map[model.ServiceName]model.Entry, err error) {
	if s.refused == nil {
		s.refused = map[model.ServiceName]Quarantined{}
	}
	now := time.Now()
	for _, name := range names {
		q, again := s.refused[name]
		if !again {
			q.Since = now
		}
		q.Err, q.entry = err, services[name]
		q.Again = now.Add(min(firstTrial<<min(q.trials, 10), lastTrial))
		q.trials, q.trying = q.trials+1, false
		s.refused[name] = q
	}
}

// admitted returns the Services to plan: all but those in quarantine. One that changed, or whose time has come,
// is tried.
func (s *Syncer) admitted(all map[model.ServiceName]model.Entry) map[model.ServiceName]model.Entry {
	if len(s.refused) == 0 {
		return all
	}
	some := maps.Clone(all)
	now := time.Now()
	for name, q := range s.refused {
		e, exists := all[name]
		switch {
		case !exists || !sameEntry(e, q.entry):
			delete(s.refused, name)
		case now.Before(q.Again):
			delete(some, name)
		default:
			q.trying = true
			s.refused[name] = q
		}
	}
	return some
}

// accepted forgets those that were tried and are in the kernel now.
func (s *Syncer) accepted() {
	maps.DeleteFunc(s.refused, func(_ model.ServiceName, q Quarantined) bool { return q.trying })
}

// released reports whether a Service in quarantine changed.
func (s *Syncer) released(changed map[model.ServiceName]model.Entry) bool {
	for name := range s.refused {
		if _, ok := changed[name]; ok {
			return true
		}
	}
	return false
}

// trialDue reports whether the time of a Service in quarantine has come.
func (s *Syncer) trialDue() bool {
	next, ok := s.nextTrial()
	return ok && !time.Now().Before(next)
}

// isolate reports whether the error means that the kernel refuses rules, and whether it is worth to plan anew: with
// the Services in quarantine whose rules these are, or without what the kernel turned out to lack.
func (s *Syncer) isolate(ctx context.Context, err error, planner *plan.Planner, services map[model.ServiceName]model.Entry) bool {
	if err == nil || s.Refused == nil {
		return false
	}
	line, refused := s.Refused(err)
	if !refused {
		return false
	}
	if s.Learn != nil && s.Learn(ctx) {
		return true // no Service is to blame, and with other settings all may be programmed
	}
	names := s.culprits(ctx, line, planner, services)
	s.quarantine(names, services, err)
	return len(names) > 0
}

// nextTrial returns when a Service in quarantine is to be tried; false if there is none.
func (s *Syncer) nextTrial() (time.Time, bool) {
	var next time.Time
	for _, q := range s.refused {
		if next.IsZero() || q.Again.Before(next) {
			next = q.Again
		}
	}
	return next, !next.IsZero()
}

// news returns who is in quarantine now and was not before, and the other way round, each by name.
func news(before, now map[model.ServiceName]Quarantined) (leftOut, takenIn []model.ServiceName) {
	only := func(some, others map[model.ServiceName]Quarantined) (names []model.ServiceName) {
		for name := range some {
			if _, both := others[name]; !both {
				names = append(names, name)
			}
		}
		slices.SortFunc(names, model.ServiceName.Compare)
		return names
	}
	return only(now, before), only(before, now)
}

// sameEntry compares as the Tracker does: what did not change is the same value.
func sameEntry(a, b model.Entry) bool {
	return a.Service.Equal(b.Service) && maps.EqualFunc(a.Backends, b.Backends, slices.Equal[[]model.Endpoint])
}

// culprits finds the Services because of which the kernel refused what was planned: the one that owns the refused
// line, or, where the tool names no rule, those whose rules it also refuses when they stand for themselves. It
// returns none if the reason is another.
func (s *Syncer) culprits(ctx context.Context, line string, planner *plan.Planner, services map[model.ServiceName]model.Entry) []model.ServiceName {
	if name, ok := owner(planner, line); ok {
		if s.try(ctx, map[model.ServiceName]model.Entry{name: services[name]}) != nil {
			return []model.ServiceName{name}
		}
	}
	if s.try(ctx, nil) != nil {
		return nil // not even the rules without any Service are accepted
	}
	return s.search(ctx, slices.SortedFunc(maps.Keys(services), model.ServiceName.Compare), services)
}

// owner returns the Service that a line of restore input belongs to.
func owner(planner *plan.Planner, line string) (model.ServiceName, bool) {
	for _, t := range []ruleset.Table{ruleset.Nat, ruleset.Filter} {
		saved, err := ruleset.Parse(strings.NewReader("*" + t.String() + "\n" + line + "\nCOMMIT\n"))
		if err != nil {
			continue
		}
		for chain, rules := range saved.Rules {
			for _, r := range rules {
				if name, ok := planner.Owner(chain, r); ok {
					return name, true
				}
			}
		}
	}
	return model.ServiceName{}, false
}

// search halves the Services until those are left that are refused.
func (s *Syncer) search(ctx context.Context, names []model.ServiceName, services map[model.ServiceName]model.Entry) []model.ServiceName {
	some := make(map[model.ServiceName]model.Entry, len(names))
	for _, name := range names {
		some[name] = services[name]
	}
	switch {
	case len(names) == 0 || ctx.Err() != nil || s.try(ctx, some) == nil:
		return nil
	case len(names) == 1:
		return names
	}
	half := len(names) / 2
	return append(s.search(ctx, names[:half], services), s.search(ctx, names[half:], services)...)
}

// try loads the rules of some Services into chains that nothing refers to, and removes them. iptables-restore
// --test would not do: it passes what the kernel refuses.
func (s *Syncer) try(ctx context.Context, services map[model.ServiceName]model.Entry) error {
	rules, _ := plan.Plan(model.Snapshot{Family: s.Family, Node: s.node, Services: services}, s.config)
	trial := delta.Batch{Write: ruleset.Ruleset{}, New: map[ruleset.Chain]bool{}}
	for c, list := range rules {
		c.Name = trialName(c.Name)
		trial.Write[c], trial.New[c] = slices.Clone(list), true
		for i, r := range list {
			if to, ok := r.JumpsTo(); ok {
				trial.Write[c][i].Jump = trialName(to)
			}
		}
	}
	ctx = context.WithoutCancel(ctx)
	err := s.apply(ctx, trial)
	// What cannot be removed now has names that a whole sync finds stale.
	_ = s.apply(ctx, delta.Dismantle(trial.Write))
	return err
}

// trialName is the name of the chain that stands for another one in a trial.
func trialName(name string) string {
	return ruleset.PrefixEndpoint + "T" + ruleset.Hash("trial of ", name)
}
