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

// chain returns the rules of the chain for what is below a node; nil for no node.
func (t tree) chain(n *node) []ruleset.Rule {
	if n == nil {
		return nil
	}
	if n.count <= leafRules {
		return t.rules(n.leaves(make([]*node, 0, leafRules)))
	}
	var single []*node
	var below []ruleset.Rule
	for _, part := range n.parts() {
		if part.leaf() {
			single = append(single, part)
			continue
		}
		k := part.key.expressible()
		below = append(below, k.match(ruleset.Rule{Jump: t.name(k)}))
	}
	return append(t.rules(single), below...)
}

// chains returns the nodes that have chains of their own, right below the chain for n.
func (n *node) chains() []*node {
	if n == nil || n.count <= leafRules {
		return nil
	}
	return slices.DeleteFunc(n.parts(), (*node).leaf)
}

// all adds the chains below the one for n to out.
func (t tree) all(n *node, out ruleset.Ruleset) {
	for _, below := range n.chains() {
		out[t.chainOf(below)] = t.chain(below)
		t.all(below, out)
	}
}

// chainOf returns the chain for a node that is not at the top.
func (t tree) chainOf(n *node) ruleset.Chain {
	return ruleset.Chain{Table: t.table, Name: t.name(n.key.expressible())}
}

// rules returns the rules of leaves whose entries stand in the same chain.
func (t tree) rules(leaves []*node) []ruleset.Rule {
	rules := make([]ruleset.Rule, 0, len(leaves)+2)
	marked := make([]*node, 0, len(leaves))
	for _, n := range leaves {
		e := n.entry()
		if e.masq && t.masq != nil {
			marked = append(marked, n)
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
	for _, n := range marked {
		rules = append(rules, n.key.match(n.entry().rule))
	}
	if len(marked) > 1 {
		rules = append(rules, scope.match(t.masq.unmark))
	}
	return rules
}

// commonKey returns the longest key that all of the leaves, which are in order, begin with.
func commonKey(leaves []*node) key {
	return leaves[0].key.common(leaves[len(leaves)-1].key)
}

// parts returns the nodes that the chain for n is divided into: those that differ in their bits before the end
// of the level. A part that fits into one chain is not divided further.
func (n *node) parts() []*node {
	return n.split(n.key.expressible().level(), nil)
}

func (n *node) split(end uint8, parts []*node) []*node {
	k := n.key.expressible()
	if n.count <= leafRules || k.n >= end {
		return append(parts, n)
	}
	if k.atProto() {
		return n.protocols(k.addr+protoLen, parts)
	}
	return n.one.split(end, n.zero.split(end, parts))
}

// protocols adds a part for each protocol; their bits end before end.
func (n *node) protocols(end uint8, parts []*node) []*node {
	if n.leaf() || n.key.n >= end {
		return append(parts, n)
	}
	return n.one.protocols(end, n.zero.protocols(end, parts))
}
