package plan_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
)

// Whatever happens to a cluster, in whatever order, a Planner that follows it has the rules of one that only sees
// the end, and says of each chain that it changed only if it did.
func TestPlannerFollowsRandomClusters(t *testing.T) {
	seed := number(t, "FLOWS_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed %d", seed)
	for round := range number(t, "FLOWS_ROUNDS", 15) {
		g := newGenerator(rand.New(rand.NewPCG(seed, round)))
		g.quarrels = g.once(3)
		f := newFollower(t, g.cluster())
		for step := range 25 {
			f.update(g.change(&f.cluster))
			if g.once(10) {
				f.Config, f.Node.Zone = g.config(), pick(g, "A", "B", "")
				f.cluster = g.family(f.cluster)
				f.apply(f.planner.Reset(f.Snapshot, f.Config))
			}
			if len(f.Services) > 100 && step%5 != 0 {
				continue
			}
			if f.check(); t.Failed() {
				t.Fatalf("step %d of round %d of FLOWS_SEED=%d", step, round, seed)
			}
		}
		f.update(slices.Collect(maps.Keys(f.Services))) // nothing changed
		for name := range f.Services {
			delete(f.Services, name)
			f.update([]model.ServiceName{name})
		}
		if f.check(); t.Failed() {
			t.Fatalf("after the last Service of round %d of FLOWS_SEED=%d", round, seed)
		}
	}
}

// The order in which Services arrive does not matter.
func TestPlannerInAnyOrder(t *testing.T) {
	seed := number(t, "FLOWS_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed %d", seed)
	for round := range number(t, "FLOWS_ROUNDS", 10) {
		g := newGenerator(rand.New(rand.NewPCG(seed, round)))
		g.quarrels = g.once(3)
		all := g.cluster()
		names := slices.SortedFunc(maps.Keys(all.Services), model.ServiceName.Compare)
		g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })

		f := newFollower(t, all.withoutServices())
		for _, name := range names {
			f.Services[name] = all.Services[name]
			f.update([]model.ServiceName{name})
		}
		if f.check(); t.Failed() {
			t.Fatalf("round %d of FLOWS_SEED=%d", round, seed)
		}
	}
}

// A follower has what a kernel would have that is told every Change.
type follower struct {
	cluster
	t       *testing.T
	planner *plan.Planner
	have    ruleset.Ruleset
}

func newFollower(t *testing.T, c cluster) *follower {
	f := &follower{cluster: c, t: t, planner: plan.NewPlanner(c.Family), have: ruleset.Ruleset{}}
	f.apply(f.planner.Reset(c.Snapshot, c.Config))
	return f
}

func (f *follower) update(names []model.ServiceName) {
	f.t.Helper()
	changed := map[model.ServiceName]model.Entry{}
	for _, name := range names {
		changed[name] = f.Services[name] // without a Service: it is gone
	}
	changes := f.planner.Update(changed)
	for i, c := range changes {
		if len(changes) == 1 && c.Refuses && c.Serves || len(changes) == 2 && (c.Refuses != (i == 0) || c.Serves != (i == 1)) {
			f.t.Errorf("change %d of %d both gains and loses verdicts, or not when it should: %t, %t", i+1, len(changes), c.Refuses, c.Serves)
		}
		for _, chain := range append(slices.Collect(maps.Keys(c.Write)), c.Delete...) {
			if i == 1 && chain.Table != ruleset.Filter {
				f.t.Errorf("%s changes after the verdicts that come", chain)
			}
		}
		f.apply(c)
	}
}

func (f *follower) apply(c plan.Change) {
	f.t.Helper()
	for chain, rules := range c.Write {
		if had, ok := f.have[chain]; ok && slices.Equal(had, rules) {
			f.t.Errorf("%s is written although nothing changed in it", chain)
		}
		f.have[chain] = rules
	}
	for _, chain := range c.Delete {
		if _, ok := f.have[chain]; !ok {
			f.t.Errorf("%s is deleted although there is none", chain)
		}
		if _, ok := c.Write[chain]; ok {
			f.t.Errorf("%s is written and deleted", chain)
		}
		delete(f.have, chain)
	}
}

// check compares with a plan from scratch.
func (f *follower) check() {
	f.t.Helper()
	want, problems := plan.Plan(f.Snapshot, f.Config)
	for _, c := range want.Chains() {
		switch had, ok := f.have[c]; {
		case !ok:
			f.t.Errorf("%s is missing", c)
		case !slices.Equal(had, want[c]):
			f.t.Errorf("%s: got %d rules, want %d:\n%s", c, len(had), len(want[c]), f.rulesText(had, want[c]))
		}
	}
	for c := range f.have {
		if _, ok := want[c]; !ok {
			f.t.Errorf("%s is left over", c)
		}
	}
	if got := f.planner.Problems(); !slices.Equal(got, problems) {
		f.t.Errorf("problems: got %v, want %v", got, problems)
	}
	sound(f.t, want, f.Family)
}

// rulesText shows where two chains differ.
func (f *follower) rulesText(got, want []ruleset.Rule) string {
	var text string
	for i := range max(len(got), len(want)) {
		g, w := "(none)", "(none)"
		if i < len(got) {
			g = got[i].Text(f.Family)
		}
		if i < len(want) {
			w = want[i].Text(f.Family)
		}
		if g != w {
			text += "got  " + g + "\nwant " + w + "\n"
		}
	}
	return text
}

func (c cluster) withoutServices() cluster {
	c.Services = map[model.ServiceName]model.Entry{}
	return c
}

// change does something to a few Services of the cluster, and returns their names.
func (g *generator) change(c *cluster) []model.ServiceName {
	old := c.Services
	c.Services = maps.Clone(old)
	names := slices.SortedFunc(maps.Keys(old), model.ServiceName.Compare)
	var changed []model.ServiceName
	for range pick(g, 1, 1, 2, 30) {
		fresh, ok := g.entry(5)
		if !ok {
			continue
		}
		name := fresh.Service.Name
		switch g.IntN(4) {
		case 0: // one more
			c.Services[name] = fresh
		case 1, 2, 3:
			if len(names) == 0 {
				continue
			}
			name = names[g.IntN(len(names))]
			had, exists := c.Services[name]
			switch {
			case !exists:
				continue
			case g.once(2): // gone
				delete(c.Services, name)
			case g.once(2): // other endpoints
				had.Backends = g.backends(had.Service, 40)
				c.Services[name] = had
			default: // another Service by the same name
				s := *fresh.Service
				s.Name = name
				c.Services[name] = model.Entry{Service: &s, Backends: fresh.Backends}
			}
		}
		changed = append(changed, name)
	}
	*c = g.family(*c)
	return changed
}
