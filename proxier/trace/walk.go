package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// maxDepth is how deep jumps may nest below a built-in chain. nf_tables refuses the sixteenth
// (NFT_JUMP_STACK_SIZE in include/net/netfilter/nf_tables.h); iptables-legacy has no limit.
const maxDepth = 15

// maxPaths bounds the ways through the rules. 5,000 endpoints have as many; only rules of which many random
// ones can take the same packet have more.
const maxPaths = 1 << 16

// Walk returns what becomes of the packet in rs, whose built-in chains lead into the others: see Attach.
// A built-in chain that rs does not have is empty.
//
// The error is for what the kernel would have refused to load: a jump to a chain that does not exist, a loop,
// too many nested jumps, a target in the wrong table. Only what the packet meets is looked at.
func Walk(rs ruleset.Ruleset, h Host, p Packet) (Result, error) {
	src, dst := p.Src.Unmap(), p.Dst.Unmap()
	family := ipproto.FamilyOf(src)
	if family == ipproto.UnknownFamily || ipproto.FamilyOf(dst) != family {
		return Result{}, fmt.Errorf("trace a packet from %v to %v: want two addresses of one family", p.Src, p.Dst)
	}
	w := &walker{
		rules: rs, host: h, family: family, proto: p.Proto, in: p.In, generated: p.In == "", recent: p.Recent,
		origDst: p.OrigDst.Unmap(), outcomes: map[key]*Outcome{}, unknown: map[Step]bool{},
	}
	if !w.origDst.IsValid() {
		w.origDst = dst
	}
	first := natPrerouting
	if w.generated {
		first = natOutput
	}
	b := branch{
		src: src, dst: dst, port: p.DstPort, mark: p.Mark,
		states: cmp.Or(p.State, ruleset.StateNew), probability: 1,
	}
	w.enter(&b, first)
	for w.pending = append(w.pending, b); len(w.pending) > 0; {
		last := len(w.pending) - 1
		b := w.pending[last]
		w.pending = w.pending[:last]
		if err := w.run(&b); err != nil {
			return Result{}, fmt.Errorf("trace %s to %s: %w", src, dst, err)
		}
	}
	return w.result(), nil
}

// walker is one call of Walk: what is the same for all branches, and what they leave behind.
type walker struct {
	rules     ruleset.Ruleset
	host      Host
	family    ipproto.Family
	proto     ipproto.Proto
	in        string
	generated bool // by a process of the node
	origDst   netip.Addr
	recent    map[string]bool

	pending  []branch
	paths    int
	outcomes map[key]*Outcome
	unknown  map[Step]bool
}

// branch is one packet under way. It is a value: copied, it goes two ways from the same place.
type branch struct {
	src, dst netip.Addr
	port     uint16
	in       string
	mark     uint32
	states   ruleset.States

	hook  hook
	stack [maxDepth + 1]frame
	depth int

	verdict    Verdict
	to         netip.AddrPort // the translation, if valid
	masquerade bool
	remembers  *listNode

	steps       *stepNode
	evaluated   int
	probability float64
}

// frame is a place in a chain: the next rule to compare with.
type frame struct {
	chain ruleset.Chain
	rules []ruleset.Rule
	next  int
}

// enter starts the branch at a hook, or at the next one that the packet sees.
func (w *walker) enter(b *branch, h hook) {
	b.hook = h
	for b.hook.nat() && b.states&ruleset.StateNew == 0 {
		b.hook = w.next(b)
	}
	b.in = w.interfaceAt(b.hook)
	b.depth = 0
	b.stack[0] = frame{chain: hooks[b.hook], rules: w.rules[hooks[b.hook]]}
}

// run follows one branch to its end. Where a rule takes a share, the rest is left in w.pending.
func (w *walker) run(b *branch) error {
	for b.hook != done {
		f := &b.stack[b.depth]
		if f.next == len(f.rules) {
			w.leave(b)
			continue
		}
		rule := &f.rules[f.next]
		f.next++
		b.evaluated++
		if rule.Foreign != "" {
			w.unknown[Step{Chain: f.chain, Index: f.next - 1, Rule: *rule, Depth: b.depth}] = true
			continue
		}
		if !w.matches(rule, b) {
			continue
		}
		switch p := chance(rule.Share); {
		case p == 0:
			continue
		case p < 1:
			rest := *b
			rest.probability *= 1 - p
			w.pending = append(w.pending, rest)
			b.probability *= p
		}
		if rule.Recent.Set {
			b.remembers = b.remembers.with(rule.Recent.List)
		}
		b.steps = &stepNode{Step{Chain: f.chain, Index: f.next - 1, Rule: *rule, Depth: b.depth}, b.steps}
		if err := w.take(b, rule); err != nil {
			return fmt.Errorf("rule %d of %s: %w", f.next, f.chain, err)
		}
	}
	return w.finish(b)
}

// take does what a rule that matched says.
func (w *walker) take(b *branch, r *ruleset.Rule) error {
	if !b.hook.allows(r.Jump) {
		return fmt.Errorf("-j %s is not possible below %s", r.Jump, hooks[b.hook])
	}
	switch r.Jump {
	case "":
	case ruleset.MarkTarget:
		b.mark = apply(r.SetMark, b.mark)
	case ruleset.Return:
		w.leave(b)
	case ruleset.Accept:
		if !b.hook.nat() && b.verdict == None {
			b.verdict = Accept
		}
		w.enter(b, w.next(b))
	case ruleset.DNAT:
		w.translate(b, r.To)
		w.enter(b, w.next(b))
	case ruleset.Masquerade:
		b.masquerade = true
		if src := w.host.source(w.family); src.IsValid() {
			b.src = src
		}
		w.enter(b, w.next(b))
	case ruleset.Drop:
		b.end(Drop)
	case ruleset.Reject:
		b.end(Reject)
	default:
		return w.jump(b, r.Jump)
	}
	return nil
}

// translate is DNAT. Conntrack calls a connection translated only if something changed (nf_nat_setup_info).
func (w *walker) translate(b *branch, to netip.AddrPort) {
	if b.dst != to.Addr() || b.port != to.Port() {
		b.states |= ruleset.StateDNAT
	}
	b.to, b.dst, b.port, b.verdict = to, to.Addr(), to.Port(), DNAT
}

// end stops the walk of a packet that goes nowhere.
func (b *branch) end(v Verdict) {
	b.hook, b.verdict, b.to, b.masquerade = done, v, netip.AddrPort{}, false
}

func (w *walker) jump(b *branch, name string) error {
	to := ruleset.Chain{Table: hooks[b.hook].Table, Name: name}
	rules, ok := w.rules[to]
	if !ok {
		return fmt.Errorf("jump to %s, which does not exist", to)
	}
	for _, f := range b.stack[:b.depth+1] {
		if f.chain == to {
			return fmt.Errorf("jump to %s, which led here: a loop", to)
		}
	}
	if b.depth == maxDepth {
		return fmt.Errorf("jump to %s: more than %d nested jumps", to, maxDepth)
	}
	b.depth++
	b.stack[b.depth] = frame{chain: to, rules: rules}
	return nil
}

// leave returns to the calling chain, or ends a built-in chain with its policy.
func (w *walker) leave(b *branch) {
	if b.depth > 0 {
		b.depth--
		return
	}
	if c := hooks[b.hook]; slices.Contains(w.host.Drops, c) {
		b.steps = &stepNode{Step{Chain: c, Index: -1, Rule: ruleset.Rule{Jump: ruleset.Drop}}, b.steps}
		b.end(Drop)
		return
	}
	w.enter(b, w.next(b))
}
