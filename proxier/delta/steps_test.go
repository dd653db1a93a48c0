package delta_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
	"espalier/proxier/ruleset/ruletest"
)

func TestVerdictsThatGoWaitForThoseThatCome(t *testing.T) {
	comes, goes, stays := reject("10.96.0.1/32"), reject("10.96.0.2/32"), reject("10.96.0.3/32")
	root := filter(ruleset.Services)
	have := ruleset.Ruleset{root: {goes, stays}, nat(ruleset.Services): nil}
	want := ruleset.Ruleset{root: {comes, stays}, nat(ruleset.Services): {{Jump: ruleset.Accept}}}
	steps := delta.Steps(have, want)
	if len(steps) != 2 {
		t.Fatalf("%d steps, want 2", len(steps))
	}
	if diff := cmp.Diff([]ruleset.Rule{comes, stays, goes}, steps[0].Write[root], sameRules); diff != "" || steps[0].NatFirst {
		t.Errorf("the first one, nat first %t, writes (-want +got):\n%s", steps[0].NatFirst, diff)
	}
	if diff := cmp.Diff(ruleset.Ruleset{root: want[root]}, steps[1].Write, sameRules); diff != "" {
		t.Errorf("the second one writes (-want +got):\n%s", diff)
	}
	for _, one := range []ruleset.Ruleset{{root: {stays}}, {root: {goes, stays, comes}}} {
		if steps := delta.Steps(have, one); len(steps) != 1 {
			t.Errorf("%d steps to %v, want 1", len(steps), one)
		}
	}
}

func TestStepsLeadToWhatIsWantedAndLoseNoVerdictBefore(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	twice := 0
	for i := range uint64(200) {
		g := ruletest.New(seed+i, ipproto.IPv4)
		have := random(g, g.Rand.IntN(20))
		want := changed(g, have, g.Rand.IntN(20))
		steps := delta.Steps(have, want)
		now := delta.Apply(have, steps[0])
		if len(steps) > 1 {
			twice++
			for c, rules := range have {
				for _, r := range rules {
					if c.Table == ruleset.Filter && (r.Jump == ruleset.Reject || r.Jump == ruleset.Drop) && !slices.Contains(now[c], r) {
						t.Fatalf("run %d: %v has lost %v already", i, c, r)
					}
				}
			}
			for _, c := range steps[1].Touched() {
				if c.Table != ruleset.Filter {
					t.Fatalf("run %d: the second step writes to %v", i, c)
				}
			}
			now = delta.Apply(now, steps[1])
		}
		if diff := cmp.Diff(want, owned(now), sameRules); diff != "" {
			t.Fatalf("run %d (-want +got):\n%s", i, diff)
		}
	}
	if twice < 20 {
		t.Errorf("only %d of 200 took two steps", twice)
	}
}
