package plan

import (
	"net/netip"
	"slices"

	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// Owner returns the Service that a rule of the plan is for; false if it is for several or for none. It is not
// fast: it is for the day when the kernel refuses the rule.
func (p *Planner) Owner(c ruleset.Chain, r ruleset.Rule) (model.ServiceName, bool) {
	for name, f := range p.services {
		if slices.Contains(f.chains, c) {
			return name, true
		}
	}
	port := r.DstPorts.First
	if port == 0 || port != r.DstPorts.Last {
		return model.ServiceName{}, false // a jump to a range, or no frontend at all
	}
	k := portKey(r.Proto, port)
	if r.Dst.IsSingleIP() {
		k = frontendKey(netip.AddrPortFrom(r.Dst.Addr(), port), r.Proto)
	}
	for id := range p.trees {
		if p.tree(treeID(id)).table != c.Table {
			continue
		}
		if n := p.trees[id].find(k); n != nil && n.entry().rule.Comment == r.Comment {
			return n.claims[0].owner, true
		}
	}
	return model.ServiceName{}, false
}
