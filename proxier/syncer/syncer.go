// Package syncer keeps the kernel's rules of one IP family equal to the plan: wait for a change, plan, find the
// difference, write it, report.
//
// It knows when to do these steps and what to remember between them. It does not know how rules are planned,
// how the kernel is reached, or who wants to know what happened: all of that is handed in.
//
// The one rule to respect: one goroutine owns a Syncer. What others learn, they learn from Reports.
//
// A sync is whole or a step. A whole one plans the cluster anew, reads the kernel back and writes what differs;
// it comes first, after a failure, and when the node or the configuration changed. A step plans the Services that
// changed and writes their chains, without a look at the rest or at the kernel.
package syncer

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
)

// A kernel is where the rules of one family live.
type kernel interface {
	// Save reads back all chains of the tables, those of others and the built-in ones included.
	Save(ctx context.Context, tables ...ruleset.Table) (ruleset.Saved, error)
	// Apply writes a batch, and says how much that was. After an error, any part of it may have been committed.
	Apply(ctx context.Context, b delta.Batch) (delta.Written, error)
}

// A source tells what the cluster looks like.
type source interface {
	// Changed receives when there is something new. A thousand changes may be one token.
	Changed() <-chan struct{}
	// Step returns what changed since the last Step or Snapshot, and when the oldest of these changes arrived;
	// false as long as the initial state is not complete.
	Step() (step model.Step, since time.Time, complete bool)
	// Snapshot returns the whole state, once Step has said that it is complete.
	Snapshot() (s model.Snapshot, since time.Time)
}

// Syncer synchronises one family. Fill in all fields, then call Run once.
type Syncer struct {
	Family ipproto.Family
	Kernel kernel
	Source source
	// Settings completes what the source knows of the node, and says how to plan for it. It fails only where
	// planning without something would be dangerous.
	Settings func(model.Node) (model.Node, plan.Config, error)
	// Resettle receives when Settings may say something else than before, though the source has nothing new. Optional.
	Resettle <-chan struct{}
	// Foreign returns what is known of writes of others to the tables; see Ledger. It is asked all the time. Nil, or an
	// error: the kernel is read back now and then.
	Foreign func(context.Context) (Others, error)
	// Refused reports whether an error of the Kernel means that it refused rules, as opposed to a lock that is
	// held or a missing privilege, and if so which line of restore input, as far as that is known.
	Refused func(error) (line string, refused bool)
	// Learn is called after rules were refused, and reports whether the kernel turned out to lack something that
	// Settings took for granted, and now does not. Optional.
	Learn func(context.Context) bool
	// Report is called after every sync, also after one that found nothing to do or failed.
	Report func(Report)
	// MinInterval is the least time between the end of a sync and the start of the next. Zero: half of what the
	// write took, and a second at most, so that a kernel in which writes are slow is left time for other things.
	MinInterval time.Duration
	// RetryInterval is the longest time between a failed sync and the next attempt, which comes sooner at first.
	RetryInterval time.Duration

	foreign Others    // as of the last whole sync
	damaged bool      // others wrote, and no sync has succeeded since
	looked  time.Time // when the kernel was last read back
	found   bool      // it was read back once at least
	calm    time.Time // until then what others write is taken for none of our business

	planner *plan.Planner // says what the kernel holds; nil: not known
	node    model.Node    // of the last whole sync, as is config
	config  plan.Config

	order order // of the rules in built-in chains

	refused map[model.ServiceName]Quarantined
	told    map[model.ServiceName]Quarantined // what the last successful sync said of them

	failures int       // in a row
	since    time.Time // arrival of the oldest change that is not in the kernel

	input delta.Written // of this sync
}

// A Report says what one sync did.
type Report struct {
	Family ipproto.Family
	// Whole: the kernel was read back, and Services are all that there are. Else Services are those that
	// changed; one without a Service is gone.
	Whole    bool
	Node     model.Node
	Config   plan.Config
	Services map[model.ServiceName]model.Entry
	Problems []model.Problem
	// Since is when the oldest change arrived that this sync was to bring into the kernel; zero if none was.
	Since time.Time
	// Began is when the sync began, and Took how long it took in all. The other times are those of its stages.
	Began                            time.Time
	Took, Planning, Reading, Writing time.Duration
	// What was written; nothing: the kernel was right already and was not touched.
	Written, Deleted, Jumps int
	// Rules are those of the plan, and Payload those that were written, each without the jumps from built-in chains.
	// They are the last ones that were known when the sync ended.
	Rules, Payload Counts
	// Programmed is how many Services have rules in the plan.
	Programmed int
	// Input is what was given to iptables-restore, also if it was refused.
	Input delta.Written
	// Refusals is how many writes failed; a sync that found the Services to blame may succeed in the end.
	Refusals int
	// StepFailed: it began as a step, and that failed. A whole sync followed in its place, or will.
	StepFailed bool
	// Foreign: somebody else wrote to the tables since the last whole sync. What was written then is the repair.
	Foreign bool
	// Damaged: a sync before this one found that others wrote, and none has succeeded since.
	Damaged bool
	// Repaired are the chains that were not as they should be then, in order.
	Repaired []ruleset.Chain
	// Found is what the kernel did with UDP when it was read for the first time; see plan.Standing. Only the Report of
	// the sync that read it has this, whether or not it succeeded.
	Found map[netip.AddrPort][]netip.AddrPort
	// Held are references of others to chains that should have been deleted.
	Held []delta.Reference
	// Quarantined are the Services that are not programmed because the kernel refuses their rules. LeftOut are those
	// of them that were not as of the last successful sync, and TakenIn those that were and no longer are; one that
	// has no entry in Services is gone. A failed sync says nothing about that.
	Quarantined      map[model.ServiceName]Quarantined
	LeftOut, TakenIn []model.ServiceName
	// Err is why the sync failed. It will be tried again after Retry.
	Err   error
	Retry time.Duration
}

// Wrote reports whether anything was written.
func (r Report) Wrote() bool { return r.Written+r.Deleted+r.Jumps > 0 }

// IsRepair reports whether something of ours was put right that others had changed.
func (r Report) IsRepair() bool { return (r.Foreign || r.Damaged) && r.Err == nil && r.Wrote() }

// Counts are numbers of rules by table.
type Counts struct{ Filter, Nat int }

// sync brings a step into the kernel.
//
// After a failure it forgets what the kernel holds, so that the next one reads it back: of one input, one
// table may have been committed and the other not.
func (s *Syncer) sync(ctx context.Context, step model.Step, since time.Time) Report {
	r := Report{Family: s.Family, Services: step.Services, Began: time.Now(), Damaged: s.damaged}
	s.input = delta.Written{}
	r.Err = s.settle(step.Node, &r)
	if r.Err == nil && s.planner != nil && !step.All && !s.trialDue() {
		s.oldest(since)
		r.Err = s.step(ctx, step, &r)
	} else if r.Err == nil {
		r.Err = s.whole(ctx, since, &r)
	}
	r.Since = s.since
	r.Quarantined = maps.Clone(s.refused)
	r.Input, r.Took = s.input, time.Since(r.Began)
	s.damaged = r.Err != nil && (s.damaged || r.Foreign)
	if r.Err != nil {
		s.planner = nil
		r.Retry = backoff(s.failures, s.RetryInterval)
		s.failures++
		return r
	}
	s.failures, s.since = 0, time.Time{}
	r.LeftOut, r.TakenIn = news(s.told, r.Quarantined)
	s.told = r.Quarantined
	return r
}

// settle finds out how to plan. A plan with other settings is another plan.
func (s *Syncer) settle(n model.Node, r *Report) error {
	node, config, err := s.Settings(n)
	if err != nil {
		return fmt.Errorf("plan %s rules: %w", s.Family, err)
	}
	if !reflect.DeepEqual(node, s.node) || !reflect.DeepEqual(config, s.config) {
		s.planner, s.node, s.config = nil, node, config
	}
	r.Node, r.Config = s.node, s.config
	return nil
}

// oldest notes since when the kernel is out of date.
func (s *Syncer) oldest(since time.Time) {
	if s.since.IsZero() || !since.IsZero() && since.Before(s.since) {
		s.since = since
	}
}

// largeStep is how many chains a step may change. What is more is written like a first load, in an order
// that only a look at the kernel's chains gives.
const largeStep = 300

// step plans and writes what changed.
func (s *Syncer) step(ctx context.Context, step model.Step, r *Report) error {
	if s.released(step.Services) {
		return s.whole(ctx, time.Time{}, r)
	}
	start := time.Now()
	changes := s.planner.Update(step.Services)
	r.planned(s.planner, start)
	chains := 0
	for _, c := range changes {
		chains += len(c.Write) + len(c.Delete)
	}
	if chains > largeStep {
		return s.whole(ctx, time.Time{}, r)
	}
	var batches []delta.Batch
	for _, c := range changes {
		batches = append(batches, delta.Batch{
			Write: c.Write, New: c.New, Delete: c.Delete,
			NatFirst: c.Serves && !c.Refuses,
			Standing: max(s.planner.Rules(ruleset.Nat), s.planner.Rules(ruleset.Filter)),
		})
	}
	err := s.write(ctx, batches, r)
	r.StepFailed = err != nil
	if s.isolate(ctx, err, s.planner, step.Services) {
		return s.whole(ctx, time.Time{}, r)
	}
	return err
}

// whole reads back what the kernel has, plans the cluster, and writes the difference.
func (s *Syncer) whole(ctx context.Context, since time.Time, r *Report) error {
	snapshot, later := s.Source.Snapshot()
	s.oldest(since)
	s.oldest(later)
	node := snapshot.Node
	r.Whole, r.Services = true, snapshot.Services
	for {
		if err := s.settle(node, r); err != nil { // also what was learned since
			return err
		}
		snapshot.Node = s.node
		admitted := snapshot
		admitted.Services = s.admitted(snapshot.Services)
		planner, err := s.load(ctx, admitted, r)
		if err == nil {
			s.planner = planner
			s.accepted()
			if r.Foreign && r.Writing == 0 {
				s.calm = time.Now().Add(lookShare * r.Reading)
			}
			return nil
		}
		if !s.isolate(ctx, err, planner, admitted.Services) {
			return err
		}
	}
}

// load reads back what the kernel has, and writes what it lacks of the snapshot. It returns the plan also where
// the kernel refuses it.
func (s *Syncer) load(ctx context.Context, snapshot model.Snapshot, r *Report) (*plan.Planner, error) {
	if s.Foreign != nil {
		// Asked before reading: what comes while it is read shows the next time.
		if foreign, err := s.Foreign(ctx); err == nil {
			r.Foreign = r.Foreign || foreign.Writes != s.foreign.Writes && !s.looked.IsZero()
			s.foreign = foreign
		}
	}
	start := time.Now()
	saved, err := s.Kernel.Save(ctx, ruleset.Filter, ruleset.Nat)
	r.Reading += time.Since(start)
	s.looked = time.Now()
	if err != nil {
		return nil, fmt.Errorf("read back %s rules: %w", s.Family, err)
	}
	have := saved.Rules
	if !s.found {
		s.found, r.Found = true, plan.Standing(have, ipproto.UDP)
	}
	planner := plan.NewPlanner(s.Family)
	if len(snapshot.Services) > largeStep && !attached(have) {
		batches := s.difference(planner, have, vital(snapshot), r)
		if err := s.write(ctx, batches, r); err != nil {
			return planner, err
		}
		for _, b := range batches {
			have = delta.Apply(have, b)
		}
		planner = plan.NewPlanner(s.Family)
	}
	batches := s.difference(planner, have, snapshot, r)
	if err := s.write(ctx, batches, r); err != nil {
		return planner, err
	}
	s.order.settle(have, batches[0])
	if r.Foreign || r.Damaged {
		for _, b := range batches {
			r.Repaired = append(r.Repaired, b.Touched()...)
		}
		slices.SortFunc(r.Repaired, ruleset.Chain.Compare)
		r.Repaired = slices.Compact(r.Repaired)
	}
	return planner, nil
}

// difference plans a snapshot and returns what the kernel lacks of it: one batch or two, of which the first has the jumps.
func (s *Syncer) difference(p *plan.Planner, have ruleset.Ruleset, snapshot model.Snapshot, r *Report) []delta.Batch {
	start := time.Now()
	want := p.Reset(snapshot, s.config).Write
	r.planned(p, start)
	batches := delta.Steps(have, want)
	batches[0] = batches[0].Attach(have, ruleset.Jumps(), s.order.behind)
	return batches
}

// planned notes what the plan has, which was begun at start.
func (r *Report) planned(p *plan.Planner, start time.Time) {
	r.Planning += time.Since(start)
	r.Problems = p.Problems()
	r.Programmed = p.Services()
	r.Rules = Counts{Filter: p.Rules(ruleset.Filter), Nat: p.Rules(ruleset.Nat)}
}

// write writes batches, one after the other.
func (s *Syncer) write(ctx context.Context, batches []delta.Batch, r *Report) error {
	for _, b := range batches {
		r.Written += len(b.Write)
		r.Deleted += len(b.Delete)
		r.Jumps += len(b.Jumps)
		r.Held = b.Held // the last one has all
		if b.Empty() {
			continue
		}
		r.Payload.add(b)
		start := time.Now()
		// A write that has begun is finished, also when the process is asked to end.
		err := s.apply(context.WithoutCancel(ctx), b)
		r.Writing += time.Since(start)
		if err != nil {
			r.Refusals++
			return fmt.Errorf("write %d chains of %s rules: %w", len(b.Write), s.Family, err)
		}
	}
	return nil
}

// apply writes a batch, and counts what that is.
func (s *Syncer) apply(ctx context.Context, b delta.Batch) error {
	written, err := s.Kernel.Apply(ctx, b)
	s.input = s.input.Plus(written)
	return err
}

// add counts the rules in the chains of a batch.
func (c *Counts) add(b delta.Batch) {
	for chain, rules := range b.Write {
		switch chain.Table {
		case ruleset.Filter:
			c.Filter += len(rules)
		case ruleset.Nat:
			c.Nat += len(rules)
		}
	}
}
