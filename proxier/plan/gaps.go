package plan

import "espalier/proxier/model"

// Gaps are how many ports of Services have traffic that only endpoints of this node may get, by traffic policy, but
// have endpoints elsewhere alone. Such traffic is dropped.
type Gaps struct{ Internal, External int }

// GapsOf counts the gaps of one Service.
func GapsOf(e model.Entry, node model.Node) (g Gaps) {
	if e.Service == nil || !e.Service.InternalLocal && !e.Service.ExternalLocal {
		return g
	}
	for _, p := range e.Service.Ports {
		sel := Select(e.Service, p, e.Backends[p.PortKey], node)
		if !sel.Any || len(sel.Local) > 0 {
			continue
		}
		if e.Service.InternalLocal {
			g.Internal++
		}
		if e.Service.ExternalLocal && externallyAccessible(e.Service, p) {
			g.External++
		}
	}
	return g
}

// Replace returns what a sum is when one of its parts changes.
func (g Gaps) Replace(old, new Gaps) Gaps {
	return Gaps{g.Internal - old.Internal + new.Internal, g.External - old.External + new.External}
}
