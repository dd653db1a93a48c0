package netns

import (
	"maps"
	"slices"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// rest returns what neither of both has to change: the chains of others, canaries included, and the built-in ones, where
// the jumps stand already.
func rest(rules ruleset.Ruleset) ruleset.Ruleset {
	others := maps.Clone(rules)
	maps.DeleteFunc(others, func(c ruleset.Chain, _ []ruleset.Rule) bool { return ruleset.Owned(c) })
	return others
}

func sameRules(a, b ruleset.Ruleset) bool { return maps.EqualFunc(a, b, slices.Equal[[]ruleset.Rule]) }

// checkOurs wants exactly what stands after a start on a node without rules, and what others have there.
func (n *inherited) checkOurs(t *testing.T) {
	t.Helper()
	for _, s := range n.families() {
		have, want := s.saved(t), n.clean[s.Family]
		for c, rules := range want {
			if list, there := have.Rules[c]; !there || !slices.Equal(list, rules) {
				t.Errorf("%s: %v has %d rules, and %d after a start on an empty node", s.Family, c, len(list), len(rules))
			}
		}
		for c := range have.Owned() {
			if _, ours := want[c]; !ours {
				t.Errorf("%s: %v of kube-proxy is left", s.Family, c)
			}
		}
		n.checkRest(t, s.Family, have)
	}
}

// checkTheirs wants what kube-proxy had left in the first place, and what others have there. kube-proxy knows of no chains
// of Services in the filter table, so ours stay there; what it wrote does not lead to them.
func (n *inherited) checkTheirs(t *testing.T) {
	t.Helper()
	for _, s := range n.families() {
		have, want := s.saved(t), n.values[s.Family].Owned()
		for c, rules := range want {
			if list, there := have.Rules[c]; !there || !alike(c, list, rules) {
				t.Errorf("%s: %v has %d rules, and %d as it was recorded", s.Family, c, len(list), len(rules))
			}
		}
		for c := range have.Owned() {
			stays := c.Table == ruleset.Filter && ruleset.PerService(c.Name)
			if _, theirs := want[c]; !theirs && !stays {
				t.Errorf("%s: %v of ours is left", s.Family, c)
			}
		}
		n.checkRest(t, s.Family, have)
	}
}

// alike compares a chain of kube-proxy. To some of them it adds rules for each Service, and takes the Services in another order
// each time; what is last stays so.
func alike(c ruleset.Chain, a, b []ruleset.Rule) bool {
	switch c.Name {
	case ruleset.Services, ruleset.ExternalServices, ruleset.NodePorts, ruleset.ProxyFirewall:
	default:
		return slices.Equal(a, b)
	}
	if len(a) != len(b) || len(a) > 0 && c.Table == ruleset.Nat && c.Name == ruleset.Services && a[len(a)-1] != b[len(b)-1] {
		return false
	}
	count := map[ruleset.Rule]int{}
	for i := range a {
		count[a[i]]++
		count[b[i]]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func (n *inherited) checkRest(t *testing.T, f ipproto.Family, have ruleset.Saved) {
	t.Helper()
	now, want := rest(have.Rules), n.rest[f]
	for c, rules := range want {
		if got, there := now[c]; !there || !slices.Equal(got, rules) {
			t.Errorf("%s: %v of others was changed: now %v, before %v", f, c, got, rules)
		}
	}
	for c := range now {
		if _, there := want[c]; !there {
			t.Errorf("%s: %v is new, and not ours", f, c)
		}
	}
}
