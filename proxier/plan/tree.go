package plan

import (
	"slices"

	"espalier/proxier/ruleset"
)

// The shape of the trees. A packet meets at most maxChain rules in a chain of a tree, and at most one chain of
// each level.
const (
	// leafRules is how many entries a chain holds before it is divided.
	leafRules = 24
	// levelBits is how many bits a level of the tree is about: a chain is divided into at most 16 parts.
	levelBits = 4
	// MaxChain is the longest chain that a plan has, in rules.
	MaxChain = 72
)

// An entry is one rule in a dispatch tree.
type entry struct {
	key  key
	rule ruleset.Rule // without the match that the key stands for
	// masq: sources that are not local pods are to be masqueraded. The tree sees to it.
	masq bool
}

// A tree turns entries into chains. The chains, their names and their content are a function of the set of
// entries alone, and a chain of that below it alone: levels end at fixed bits of the key, wherever the level above
// ended. So an added entry changes few chains, also when it stands far from all others.
type tree struct {
	out   ruleset.Ruleset // receives the inner chains
	table ruleset.Table
	name  func(key) string
	// masq are the rules that mark and unmark what entries with masq match; without them there is none.
	masq *masqRules
}

// masqRules mark packets for masquerading in front of the entries of a chain, and take the mark away behind
// them, because a packet that no entry took must leave as it came. Both get a destination prefix added.
type masqRules struct {
	mark, unmark ruleset.Rule
}

// root returns the rules of the chain at the top of the tree, and adds the chains below it.
// The entries must be sorted by key, without two equal keys.
func (t tree) root(entries []entry) []ruleset.Rule {
	if len(entries) <= leafRules {
		return t.rules(entries)
	}
	var single []entry
	var below []ruleset.Rule
	for _, part := range split(entries, commonKey(entries).level(), nil) {
		if len(part) == 1 {
			single = append(single, part[0])
			continue
		}
		k := commonKey(part)
		chain := ruleset.Chain{Table: t.table, Name: t.name(k)}
		t.out[chain] = t.root(part)
		below = append(below, k.match(ruleset.Rule{Jump: chain.Name}))
	}
	return append(t.rules(single), below...)
}

// rules returns the rules of entries that stand in the same chain.
func (t tree) rules(entries []entry) []ruleset.Rule {
	rules := make([]ruleset.Rule, 0, len(entries)+2)
	var marked []entry
	for _, e := range entries {
		if e.masq && t.masq != nil {
			marked = append(marked, e)
			continue
		}
		rules = append(rules, e.key.match(e.rule))
	}
	if len(marked) == 0 {
		return rules
	}
	// The closest prefix around the marked entries: traffic to elsewhere is not touched. Around a single entry
	// it is the entry itself, whose packets never come back.
	scope := commonKey(marked)
	rules = append(rules, scope.match(t.masq.mark))
	for _, e := range marked {
		rules = append(rules, e.key.match(e.rule))
	}
	if len(marked) > 1 {
		rules = append(rules, scope.match(t.masq.unmark))
	}
	return rules
}

// commonKey returns the longest key that all entries begin with.
func commonKey(entries []entry) key {
	return entries[0].key.common(entries[len(entries)-1].key)
}

// split divides sorted entries into parts that differ in their bits before end, and adds them to parts. A part
// that fits into one chain is not divided further.
func split(entries []entry, end uint8, parts [][]entry) [][]entry {
	k := commonKey(entries)
	if len(entries) <= leafRules || k.n >= end {
		return append(parts, entries)
	}
	if k.atProto() {
		for len(entries) > 0 { // at most three protocols
			p := entries[0].key.cut(k.n + protoLen)
			n := slices.IndexFunc(entries, func(e entry) bool { return e.key.cut(p.n) != p })
			if n < 0 {
				n = len(entries)
			}
			parts = append(parts, entries[:n])
			entries = entries[n:]
		}
		return parts
	}
	n := slices.IndexFunc(entries, func(e entry) bool { return e.key.bit(k.n) == 1 })
	parts = split(entries[:n], end, parts)
	return split(entries[n:], end, parts)
}
