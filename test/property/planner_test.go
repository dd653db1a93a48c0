package property

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/watcher/synthetic"
)

// follower applies what a Planner says to a ruleset, and checks that it says no more than needed.
type follower struct {
	t       *testing.T
	planner *plan.Planner
	rules   ruleset.Ruleset
}

func (f *follower) apply(c plan.Change) {
	f.t.Helper()
	for chain, rules := range c.Write {
		if _, existed := f.rules[chain]; existed == c.New[chain] {
			f.t.Errorf("chain %s existed: %v, but is said to be new: %v", chain, existed, c.New[chain])
		}
		if had, ok := f.rules[chain]; ok && slices.Equal(had, rules) {
			f.t.Errorf("chain %s is written although it has not changed", chain)
		}
		f.rules[chain] = rules
	}
	for _, chain := range c.Delete {
		if _, ok := f.rules[chain]; !ok {
			f.t.Errorf("chain %s is deleted although it does not exist", chain)
		}
		delete(f.rules, chain)
	}
}

func TestPlannerFollowsAnySequenceOfChanges(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		family := randomFamily(r)
		cfg := randomConfig(r, family)
		pool := synthetic.Random(r, family, 120)
		names := slices.SortedFunc(maps.Keys(pool.Services), model.ServiceName.Compare)
		now := model.Snapshot{Family: family, Node: pool.Node, Services: map[model.ServiceName]model.Entry{}}
		f := follower{t: t, planner: plan.NewPlanner(family), rules: ruleset.Ruleset{}}
		f.apply(f.planner.Reset(now, cfg))
		for step := range 40 {
			if r.IntN(20) == 0 {
				cfg = randomConfig(r, family)
				f.apply(f.planner.Reset(now, cfg))
			} else {
				for _, c := range f.planner.Update(someChanges(r, now, pool, names, step)) {
					f.apply(c)
				}
			}
			want, problems := plan.Plan(now, cfg)
			if !maps.EqualFunc(want, f.rules, slices.Equal[[]ruleset.Rule]) {
				t.Fatalf("step %d: rules differ from those of a fresh start (-fresh +followed):\n%s", step, cmp.Diff(want, f.rules, compareRules))
			}
			for _, table := range []ruleset.Table{ruleset.Filter, ruleset.Nat} {
				if got, n := f.planner.Rules(table), count(want, table); got != n {
					t.Fatalf("step %d: planner counts %d rules in %s, want %d", step, got, table, n)
				}
			}
			if got := f.planner.Problems(); !slices.Equal(got, problems) {
				t.Fatalf("step %d: problems differ from those of a fresh start (-fresh +followed):\n%s", step, cmp.Diff(problems, got))
			}
		}
	})
}

// someChanges changes a few Services of now, seldom very many, and returns them.
func someChanges(r *rand.Rand, now, pool model.Snapshot, names []model.ServiceName, step int) map[model.ServiceName]model.Entry {
	n := 1 + r.IntN(3)
	if r.IntN(10) == 0 || step == 0 {
		n = r.IntN(len(names))
	}
	changed := map[model.ServiceName]model.Entry{}
	for range n {
		name := names[r.IntN(len(names))]
		e := pool.Services[name]
		other := pool.Services[names[r.IntN(len(names))]]
		switch {
		case r.IntN(4) == 0:
			e = model.Entry{}
		case r.IntN(3) == 0: // claim what another Service has
			s := *e.Service
			s.ClusterIP = other.Service.ClusterIP
			e.Service = &s
		case r.IntN(3) == 0:
			e.Backends = other.Backends
		}
		changed[name] = e
		now.Services[name] = e
		if e.Service == nil {
			delete(now.Services, name)
		}
	}
	return changed
}

func count(rules ruleset.Ruleset, t ruleset.Table) int {
	n := 0
	for c, list := range rules {
		if c.Table == t {
			n += len(list)
		}
	}
	return n
}
