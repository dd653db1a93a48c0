package delta

import "espalier/proxier/ruleset"

// leavesFirst returns the chains in an order in which each comes after all chains of the set that it refers
// to. What hangs together stays together: the chains of one Service come right before the chain that leads to
// them. Equal sets give the same order. A loop, which no kernel accepts, is cut somewhere.
func leavesFirst(rs ruleset.Ruleset) []ruleset.Chain {
	chains := rs.Chains()
	referred := make(map[ruleset.Chain]bool, len(chains))
	for c, rules := range rs {
		for _, r := range rules {
			if name, ok := r.JumpsTo(); ok {
				referred[ruleset.Chain{Table: c.Table, Name: name}] = true
			}
		}
	}
	w := walk{rs: rs, seen: make(map[ruleset.Chain]bool, len(chains)), out: make([]ruleset.Chain, 0, len(chains))}
	for _, c := range chains {
		if !referred[c] {
			w.visit(c)
		}
	}
	for _, c := range chains { // what only a loop leads to
		w.visit(c)
	}
	return w.out
}

// walk is a depth-first walk along the references.
type walk struct {
	rs   ruleset.Ruleset
	seen map[ruleset.Chain]bool
	out  []ruleset.Chain
}

func (w *walk) visit(c ruleset.Chain) {
	rules, ok := w.rs[c]
	if !ok || w.seen[c] {
		return
	}
	w.seen[c] = true
	for _, r := range rules {
		if name, ok := r.JumpsTo(); ok {
			w.visit(ruleset.Chain{Table: c.Table, Name: name})
		}
	}
	w.out = append(w.out, c)
}
