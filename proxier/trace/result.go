package trace

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// key tells outcomes apart.
type key struct {
	verdict    Verdict
	to         netip.AddrPort
	masquerade bool
}

// stepNode and listNode are lists that branches share: each branch only adds to the end.
type stepNode struct {
	Step
	before *stepNode
}

type listNode struct {
	name   string
	before *listNode
}

func (l *listNode) has(name string) bool {
	for ; l != nil; l = l.before {
		if l.name == name {
			return true
		}
	}
	return false
}

func (l *listNode) with(name string) *listNode {
	if l.has(name) {
		return l
	}
	return &listNode{name, l}
}

// finish adds the way that the branch took to its outcome.
func (w *walker) finish(b *branch) error {
	if w.paths++; w.paths > maxPaths {
		return fmt.Errorf("more than %d ways through the rules", maxPaths)
	}
	k := key{b.verdict, b.to, b.masquerade}
	o := w.outcomes[k]
	if o == nil {
		o = &Outcome{Verdict: k.verdict, To: k.to, Masquerade: k.masquerade}
		w.outcomes[k] = o
	}
	p := Path{last: b.steps, Evaluated: b.evaluated, Probability: b.probability}
	for l := b.remembers; l != nil; l = l.before {
		p.Remembers = append(p.Remembers, l.name)
	}
	slices.Reverse(p.Remembers)
	o.Paths = append(o.Paths, p)
	o.Probability += p.Probability
	return nil
}

func (w *walker) result() Result {
	var r Result
	for _, o := range w.outcomes {
		r.Outcomes = append(r.Outcomes, *o)
	}
	slices.SortFunc(r.Outcomes, func(a, b Outcome) int {
		return cmp.Or(cmp.Compare(a.Verdict, b.Verdict), a.To.Compare(b.To), compareBool(a.Masquerade, b.Masquerade))
	})
	r.Unknown = slices.SortedFunc(maps.Keys(w.unknown), func(a, b Step) int {
		return cmp.Or(a.Chain.Compare(b.Chain), cmp.Compare(a.Index, b.Index))
	})
	return r
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
