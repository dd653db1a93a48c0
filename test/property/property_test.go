// Package property checks, on random clusters, what must hold of the rules of every cluster. The seed of a
// failing case is in its name: go test -run 'TestPlan/seed=…'.
package property

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/watcher"
	"espalier/watcher/synthetic"
)

var seed = flag.Uint64("seed", 0, "repeat the case with this seed; 0: new ones")

// forSeeds runs a check on fresh seeds, or on the one asked for.
func forSeeds(t *testing.T, check func(t *testing.T, r *rand.Rand)) {
	first, cases := *seed, uint64(1)
	if first == 0 {
		first, cases = uint64(time.Now().UnixNano()), 10
	}
	for s := first; s < first+cases; s++ {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			check(t, rand.New(rand.NewPCG(s, 0)))
		})
	}
}

func randomFamily(r *rand.Rand) ipproto.Family { return ipproto.Families[r.IntN(2)] }

func randomConfig(r *rand.Rand, f ipproto.Family) plan.Config {
	cfg := plan.Config{
		MasqueradeMark:     1 << r.IntN(32),
		MasqueradeAll:      r.IntN(4) == 0,
		LocalhostNodePorts: r.IntN(2) == 0,
		DropInvalid:        r.IntN(2) == 0,
		NoExternalIPs:      r.IntN(8) == 0,
		NoHairpinMatch:     r.IntN(4) == 0,
		CountInvalid:       r.IntN(4) == 0,
		CountLocalhost:     r.IntN(4) == 0,
		NodePortAddresses:  []netip.Prefix{f.All()},
		Lacks: plan.Lacks{
			Recent: r.IntN(8) == 0, Statistic: r.IntN(8) == 0, AddrType: r.IntN(8) == 0, Reject: r.IntN(8) == 0,
		},
	}
	switch r.IntN(4) {
	case 0:
		cfg.Detector.Interface = "veth+"
	case 1:
	default:
		cfg.Detector.PodCIDR = netip.MustParsePrefix(map[ipproto.Family]string{ipproto.IPv4: "10.128.0.0/9", ipproto.IPv6: "fd00:10:128::/48"}[f])
	}
	if r.IntN(3) == 0 {
		cfg.NodePortAddresses = []netip.Prefix{f.Loopback()}
	}
	return cfg
}

func randomPlan(r *rand.Rand, f ipproto.Family, n int) ruleset.Ruleset {
	rules, _ := plan.Plan(synthetic.Random(r, f, n), randomConfig(r, f))
	return rules
}

func TestPlanKeepsItsShape(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		f := randomFamily(r)
		rules := randomPlan(r, f, 1+r.IntN(400))
		referred := map[ruleset.Chain]bool{}
		for chain, list := range rules {
			if err := chain.Validate(); err != nil {
				t.Errorf("chain %s: %v", chain, err)
			}
			if !ruleset.Owned(chain) {
				t.Errorf("chain %s is not one that the proxy owns", chain)
			}
			if len(list) > plan.MaxChain {
				t.Errorf("chain %s has %d rules, more than %d", chain, len(list), plan.MaxChain)
			}
			for i, rule := range list {
				if err := rule.Validate(f); err != nil {
					t.Errorf("chain %s, rule %d %q: %v", chain, i, rule.Text(f), err)
				}
				to, ok := rule.JumpsTo()
				if !ok {
					continue
				}
				target := ruleset.Chain{Table: chain.Table, Name: to}
				referred[target] = true
				content, exists := rules[target]
				if !exists {
					t.Errorf("chain %s jumps to %s, which does not exist", chain, target)
				}
				if len(content) == 0 && to != ruleset.NodePorts && to != ruleset.PrefixEndpoint+"HAIRPIN" {
					t.Errorf("chain %s jumps to %s, which is empty", chain, target)
				}
			}
		}
		for chain := range rules {
			if ruleset.PerService(chain.Name) && !referred[chain] {
				t.Errorf("nothing jumps to %s", chain)
			}
		}
	})
}

func TestPlanOfTheSameClusterInAnyOrderIsTheSame(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		f := randomFamily(r)
		cfg := randomConfig(r, f)
		state := synthetic.Cluster(r.Uint64(), synthetic.Size{
			Services: 300, Endpoints: 5, Families: []ipproto.Family{f},
			Mix: synthetic.Mix{NodePort: .3, LoadBalancer: .2, ExternalIP: .1, SourceRanges: .5, ExternalLocal: .3, InternalLocal: .1, Affinity: .1, UDP: .2, Idle: .2, Hinted: .3},
		})
		want := plans(t, f, cfg, func(tr *watcher.Tracker) { tr.Replace(state) })
		got := plans(t, f, cfg, func(tr *watcher.Tracker) { oneByOne(r, tr, state) })
		if !maps.EqualFunc(want, got, slices.Equal[[]ruleset.Rule]) {
			t.Errorf("rules depend on the order of events (-at once +one by one):\n%s", cmp.Diff(want, got, compareRules))
		}
	})
}

var compareRules = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func plans(t *testing.T, f ipproto.Family, cfg plan.Config, fill func(*watcher.Tracker)) ruleset.Ruleset {
	t.Helper()
	tracker := watcher.New()
	view := tracker.View(f)
	fill(tracker)
	tracker.SetSynced()
	s, _, ok := view.Snapshot()
	if !ok {
		t.Fatal("no snapshot although the tracker is synced")
	}
	rules, _ := plan.Plan(s, cfg)
	return rules
}

// oneByOne feeds a state as single events in random order, with detours: Services and slices that come and go,
// and ones that are set twice.
func oneByOne(r *rand.Rand, tr *watcher.Tracker, s watcher.State) {
	var events []func()
	detour := synthetic.Cluster(r.Uint64(), synthetic.Size{Services: 50, Endpoints: 3})
	for name, services := range detour.Services {
		if _, kept := s.Services[name]; !kept {
			tr.SetService(name, services...)
			events = append(events, func() { tr.DeleteService(name) })
		}
	}
	for name, slice := range detour.Slices {
		if _, kept := s.Slices[name]; !kept {
			tr.SetSlice(slice)
			events = append(events, func() { tr.DeleteSlice(name) })
		}
	}
	for f, n := range s.Nodes {
		events = append(events, func() { tr.SetNode(f, n) })
	}
	for name, services := range s.Services {
		set := func() { tr.SetService(name, services...) }
		events = append(events, set, set)
	}
	for _, slice := range s.Slices {
		events = append(events, func() { tr.SetSlice(slice) })
	}
	r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for _, e := range events {
		e()
	}
}

func TestDifferenceOfTwoPlansTurnsOneIntoTheOther(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		f := randomFamily(r)
		from, to := randomPlan(r, f, r.IntN(200)), randomPlan(r, f, r.IntN(200))
		if r.IntN(2) == 0 { // the usual case: a few Services differ
			s := synthetic.Random(r, f, 200)
			cfg := randomConfig(r, f)
			from, _ = plan.Plan(s, cfg)
			to, _ = plan.Plan(without(r, s, 5), cfg)
		}
		got := delta.Apply(from, delta.Between(from, to))
		maps.DeleteFunc(got, func(c ruleset.Chain, _ []ruleset.Rule) bool { return !ruleset.Owned(c) })
		for c, rules := range from { // the kubelet's chain is never removed
			if _, planned := to[c]; c.Name == ruleset.Firewall && !planned {
				to[c] = rules
			}
		}
		for _, c := range slices.Concat(to.Chains(), got.Chains()) {
			if !slices.Equal(got[c], to[c]) {
				t.Fatalf("chain %s: got %d rules, want %d:\n%s", c, len(got[c]), len(to[c]), cmp.Diff(to[c], got[c], compareRules))
			}
		}
		if again := delta.Between(to, to); !again.Empty() {
			t.Errorf("difference of equal plans is not empty: %+v", again)
		}
	})
}

// without leaves out n Services and one endpoint of each of n others.
func without(r *rand.Rand, s model.Snapshot, n int) model.Snapshot {
	s.Services = maps.Clone(s.Services)
	names := slices.SortedFunc(maps.Keys(s.Services), model.ServiceName.Compare)
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:n] {
		delete(s.Services, name)
	}
	for _, name := range names[n : 2*n] {
		e := s.Services[name]
		e.Backends = maps.Clone(e.Backends)
		for port, endpoints := range e.Backends {
			if len(endpoints) > 0 {
				e.Backends[port] = endpoints[1:]
			}
		}
		s.Services[name] = e
	}
	return s
}

func TestPlanReadsBackAsItWasWritten(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		f := randomFamily(r)
		want := randomPlan(r, f, r.IntN(200))
		for _, strategy := range []delta.Strategy{delta.Legacy, delta.NFT} {
			text, err := delta.Between(nil, want).Text(f, strategy)
			if err != nil {
				t.Fatalf("%s: %v", strategy, err)
			}
			saved, err := ruleset.Parse(bytes.NewReader(text))
			if err != nil {
				t.Fatalf("%s: %v", strategy, err)
			}
			for _, c := range slices.Concat(want.Chains(), saved.Rules.Chains()) {
				if !slices.Equal(saved.Rules[c], want[c]) {
					t.Fatalf("%s: chain %s reads back differently (-planned +read):\n%s", strategy, c, cmp.Diff(want[c], saved.Rules[c], compareRules))
				}
			}
		}
	})
}
