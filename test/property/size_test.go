package property

import (
	"net/netip"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/watcher"
	"espalier/watcher/synthetic"
)

// The number of rules and chains is what a load, a change on the legacy backend, and memory cost.
func TestRulesForTenThousandServicesAreFew(t *testing.T) {
	tracker := watcher.New()
	tracker.Replace(synthetic.Cluster(1, synthetic.Size{Services: 10000, Endpoints: 3}))
	tracker.SetSynced()
	s, _, _ := tracker.View(ipproto.IPv4).Snapshot()
	rules, problems := plan.Plan(s, plan.Config{
		MasqueradeMark: 0x4000, DropInvalid: true, LocalhostNodePorts: true,
		NodePortAddresses: []netip.Prefix{ipproto.IPv4.All()},
		Detector:          plan.Detector{PodCIDR: netip.MustParsePrefix("10.128.0.0/9")},
	})
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	for _, size := range ruleset.Measure(rules) {
		if size.Table == ruleset.Nat && (size.Rules > 43000 || size.Chains > 11500) {
			t.Errorf("%d rules in %d chains of nat, want at most 43000 in 11500", size.Rules, size.Chains)
		}
		if size.LongestRules > plan.MaxChain {
			t.Errorf("chain %s has %d rules, want at most %d", size.Longest, size.LongestRules, plan.MaxChain)
		}
	}
}
