package property

import (
	"math/rand/v2"
	"strings"
	"testing"

	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/watcher/synthetic"
)

// What the kernel lacks no rule asks for; and every cluster IP is served as before.
func TestPlanDoesWithoutWhatTheKernelLacks(t *testing.T) {
	for _, test := range []struct {
		name  string
		lacks plan.Lacks
		asks  func(ruleset.Rule) bool
	}{
		{"recent", plan.Lacks{Recent: true}, func(r ruleset.Rule) bool { return r.Recent != ruleset.Recent{} }},
		{"statistic", plan.Lacks{Statistic: true}, func(r ruleset.Rule) bool { return r.Share != ruleset.Share{} }},
		{"addrtype", plan.Lacks{AddrType: true}, func(r ruleset.Rule) bool { return r.SrcLocal || r.DstLocal }},
		{"REJECT", plan.Lacks{Reject: true}, func(r ruleset.Rule) bool { return r.Jump == ruleset.Reject }},
	} {
		t.Run(test.name, func(t *testing.T) {
			forSeeds(t, func(t *testing.T, r *rand.Rand) {
				f := randomFamily(r)
				s, cfg := synthetic.Random(r, f, 200), randomConfig(r, f)
				cfg.Lacks = plan.Lacks{}
				with, _ := plan.Plan(s, cfg)
				if countRules(with, test.asks) == 0 {
					t.Fatal("with it no rule asks for it either, so this proves nothing")
				}
				cfg.Lacks = test.lacks
				without, _ := plan.Plan(s, cfg)
				if n := countRules(without, test.asks); n > 0 {
					t.Errorf("%d rules ask for it", n)
				}
				leaf := func(r ruleset.Rule) bool { return strings.HasSuffix(r.Comment, " cluster IP") }
				if a, b := countRules(with, leaf), countRules(without, leaf); a != b {
					t.Errorf("%d rules for cluster IPs, want %d as with it", b, a)
				}
			})
		})
	}
}

func countRules(rs ruleset.Ruleset, is func(ruleset.Rule) bool) (n int) {
	for _, rules := range rs {
		for _, r := range rules {
			if is(r) {
				n++
			}
		}
	}
	return n
}
