package delta

import (
	"slices"

	"espalier/proxier/ruleset"
)

// An Insertion puts a jump into a built-in chain.
type Insertion struct {
	ruleset.Jump
	// At is how many rules stand in front of it then.
	At int
}

// Behind says which rules of others belong behind a jump of ours in a built-in chain, if one of our jumps stands in front
// of them: who stands in front of all of them has gone there, as Calico and Weave Net do. Nil: whatever stands in front of
// a jump may stand there.
type Behind func(from ruleset.Chain, jump, other ruleset.Rule) bool

// Attach returns the batch with those of the jumps that have does not show, each next to those that it belongs to,
// or at the top of its chain. Jumps that stand in another order than that of ruleset.Jumps, twice, or after rules
// that belong behind them, are put right. The order matters: KUBE-FORWARD accepts what KUBE-PROXY-FIREWALL drops.
// Rules of others keep theirs.
//
// The chain of a jump is created if it is neither there nor written. have must hold the built-in chains.
func (b Batch) Attach(have ruleset.Ruleset, jumps []ruleset.Jump, behind Behind) Batch {
	b.Jumps, b.Unjump = nil, nil
	var done []ruleset.Chain
	for _, j := range jumps {
		if slices.Contains(done, j.From) {
			continue
		}
		done = append(done, j.From)
		p := placing{from: j.From, rules: slices.Clone(have[j.From]), behind: behind}
		for _, o := range jumps {
			if o.From == j.From {
				p.jumps = append(p.jumps, o)
			}
		}
		p.place()
		b.Jumps = append(b.Jumps, p.insert...)
		b.Unjump = append(b.Unjump, p.remove...)
	}
	for _, j := range b.Jumps {
		b.create(have, ruleset.Chain{Table: j.From.Table, Name: j.To})
	}
	return b
}

// create adds an empty chain, unless there will be one anyway.
func (b *Batch) create(have ruleset.Ruleset, c ruleset.Chain) {
	_, there := have[c]
	if _, written := b.Write[c]; there || written {
		return
	}
	if b.Write == nil {
		b.Write, b.New = ruleset.Ruleset{}, map[ruleset.Chain]bool{}
	}
	b.Write[c] = nil
	b.New[c] = true
}

// placing finds the places of our jumps in one built-in chain.
type placing struct {
	from   ruleset.Chain
	jumps  []ruleset.Jump // the last one stands first
	rules  []ruleset.Rule // of the chain, as they will be
	behind Behind
	remove []ruleset.Jump
	insert []Insertion
}

func (p *placing) place() {
	if at, wrong := p.misplaced(); wrong {
		for _, j := range p.ordered() {
			for i := slices.Index(p.rules, j.Rule); i >= 0; i = slices.Index(p.rules, j.Rule) {
				p.rules = slices.Delete(p.rules, i, i+1)
				p.remove = append(p.remove, j)
			}
		}
		for _, j := range p.ordered() {
			p.put(j, at)
		}
	}
	for i, j := range p.jumps {
		if !slices.Contains(p.rules, j.Rule) {
			p.put(j, p.gap(i))
		}
	}
}

func (p *placing) put(j ruleset.Jump, at int) {
	p.insert = append(p.insert, Insertion{Jump: j, At: at})
	p.rules = slices.Insert(p.rules, at, j.Rule)
}

// ordered returns the jumps that are ours alone. The place of the one to KUBE-FIREWALL is the kubelet's business.
func (p *placing) ordered() []ruleset.Jump {
	return slices.DeleteFunc(slices.Clone(p.jumps), func(j ruleset.Jump) bool { return j.To == ruleset.Firewall })
}

// misplaced reports whether jumps stand where they should not, and how many rules of others belong in front of them.
func (p *placing) misplaced() (at int, wrong bool) {
	ordered := p.ordered()
	first := len(p.rules) // of our jumps, and of what belongs behind them
	front, last, previous := len(p.rules), -1, len(ordered)
	for i, r := range p.rules {
		n := slices.IndexFunc(ordered, func(j ruleset.Jump) bool { return j.Rule == r })
		if n < 0 {
			continue
		}
		wrong = wrong || n >= previous
		first, front, last, previous = min(first, i), min(front, i), i, n
	}
	for i, r := range p.rules[:last+1] {
		if i > front && p.overtakes(r, p.rules[i+1:last+1], ordered) {
			first, wrong = min(first, i), true
		}
	}
	return first, wrong
}

// overtakes reports whether a rule of somebody else belongs behind a jump of ours that stands behind it.
func (p *placing) overtakes(other ruleset.Rule, rest []ruleset.Rule, ordered []ruleset.Jump) bool {
	if p.behind == nil || other.Jump == ruleset.Firewall {
		return false
	}
	return slices.ContainsFunc(ordered, func(j ruleset.Jump) bool {
		return j.Rule != other && slices.Contains(rest, j.Rule) && p.behind(p.from, j.Rule, other)
	})
}

// gap returns where jump i belongs among those that are there: in front of those that were to be inserted before it.
func (p *placing) gap(i int) int {
	if p.jumps[i].To == ruleset.Firewall {
		return 0
	}
	for n := i - 1; n >= 0; n-- {
		if at := slices.Index(p.rules, p.jumps[n].Rule); at >= 0 && p.jumps[n].To != ruleset.Firewall {
			return at
		}
	}
	for n := i + 1; n < len(p.jumps); n++ {
		if at := slices.Index(p.rules, p.jumps[n].Rule); at >= 0 && p.jumps[n].To != ruleset.Firewall {
			return at + 1
		}
	}
	return 0
}
