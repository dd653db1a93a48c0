package syncer

import (
	"slices"

	"espalier/proxier/delta"
	"espalier/proxier/ruleset"
)

// An order remembers in which order the rules of built-in chains stood, so that jumps of ours that somebody moved
// behind rules of others, and away from our other jumps, are put back.
//
// It does so once: two who insist would never end. And whoever is new in front of us is there for a reason: an
// administrator's rule, say. So are those who come to the front of all of our jumps (see delta.Behind).
type order struct {
	rules   ruleset.Ruleset
	insists map[standing]bool // those that jumps were put back in front of once
	asked   map[standing]bool // those that it was said of that they belong behind a jump
}

// standing is a rule of somebody else in a built-in chain.
type standing struct {
	in   ruleset.Chain
	rule ruleset.Rule
}

// behind is the order as delta.Batch.Attach wants to know it.
func (o *order) behind(from ruleset.Chain, jump, other ruleset.Rule) bool {
	s := standing{from, other}
	if o.insists[s] {
		return false
	}
	j := slices.Index(o.rules[from], jump)
	if j < 0 || !slices.Contains(o.rules[from][j:], other) {
		return false
	}
	if o.asked == nil {
		o.asked = map[standing]bool{}
	}
	o.asked[s] = true
	return true
}

// settle notes how the rules stand after the batch was written to what the kernel had.
func (o *order) settle(have ruleset.Ruleset, b delta.Batch) {
	if o.insists == nil {
		o.insists = map[standing]bool{}
	}
	for s := range o.asked {
		o.insists[s] = true
	}
	clear(o.asked)
	builtIn := ruleset.Ruleset{}
	for _, j := range ruleset.Jumps() {
		builtIn[j.From] = have[j.From]
	}
	o.rules = delta.Apply(builtIn, delta.Batch{Jumps: b.Jumps, Unjump: b.Unjump})
	for s := range o.insists { // what is gone insists on nothing
		if !slices.Contains(o.rules[s.in], s.rule) {
			delete(o.insists, s)
		}
	}
}
