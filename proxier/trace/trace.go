// Package trace walks a Ruleset with a virtual packet, the first of a connection, and says what becomes of it:
// which endpoint with which probability, masqueraded or not, refused, dropped, or left alone, and by which
// rules. It stands behind the explain command and behind the tests of packet flows that need no kernel.
//
// It knows the order of the netfilter hooks, when conntrack lets a packet see the nat table, and what the
// matches and targets of a Rule do (net/ipv4/netfilter/ip_tables.c, net/netfilter/xt_*.c). It does not know
// Services, and it is not the rest of the kernel: routing is the one question "is this an address of the
// node", reverse-path filters, martian checks and other tables do not exist.
//
// The one rule to respect: chance is never drawn. A rule that takes a share of the packets splits the walk, and
// the result is the whole distribution.
package trace

import (
	"net/netip"
	"slices"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// Packet is what arrives at the first hook.
type Packet struct {
	Src, Dst netip.Addr
	DstPort  uint16
	// Proto of the packet; zero: one without ports, such as ICMP, which only rules without a protocol match.
	Proto ipproto.Proto
	// In is the interface by which the packet arrives. Empty: a process of the node sends it. This, and not the
	// source address, decides at which hook the walk starts.
	In string
	// Mark is what the packet carries already.
	Mark uint32
	// State is what conntrack thinks of it; zero: StateNew. Only a new packet sees the nat table. Of an
	// established one, add StateDNAT if its connection was translated, and give the translated destination.
	State ruleset.States
	// OrigDst is the destination of the connection's first packet as the client sent it; the zero Addr: Dst.
	OrigDst netip.Addr
	// Recent names the lists of -m recent that hold the source, none of the entries too old.
	Recent map[string]bool
}

// Host is what the walk must know of the node.
type Host struct {
	// Addrs are the addresses of the node, of any family. The loopback addresses need not be among them.
	Addrs []netip.Addr
	// Drops are the built-in chains whose policy is DROP. The policy of all others is ACCEPT.
	Drops []ruleset.Chain
}

// local reports whether the routing table would deliver a packet for a to the node itself.
func (h Host) local(a netip.Addr) bool {
	return ipproto.FamilyOf(a).Loopback().Contains(a) || slices.Contains(h.Addrs, a)
}

// source returns the address that MASQUERADE gives to a packet of the family; the zero Addr if Host has none.
func (h Host) source(f ipproto.Family) netip.Addr {
	for _, a := range h.Addrs {
		if ipproto.FamilyOf(a) == f && !f.Loopback().Contains(a) {
			return a
		}
	}
	return netip.Addr{}
}

// Verdict is what became of a packet.
type Verdict uint8

// The verdicts.
const (
	None   Verdict = iota // no rule took it: it goes where the routing table says
	Accept                // a rule of the filter table let it through, untranslated
	DNAT                  // it goes to an endpoint
	Reject                // refused with an ICMP error
	Drop                  // silently lost
)

// String returns the verdict as iptables spells it, or "none".
func (v Verdict) String() string {
	switch v {
	case Accept:
		return ruleset.Accept
	case DNAT:
		return ruleset.DNAT
	case Reject:
		return ruleset.Reject
	case Drop:
		return ruleset.Drop
	}
	return "none"
}

// Step is a rule that matched the packet.
type Step struct {
	Chain ruleset.Chain
	// Index is the place in the chain, from zero; -1 is the policy of a built-in chain, and Rule has only a Jump.
	Index int
	Rule  ruleset.Rule
	// Depth is how many jumps below the built-in chain the rule stands.
	Depth int
}

// Path is one way through the rules.
type Path struct {
	last *stepNode // paths share their beginnings
	// Evaluated is how many rules the packet was compared with on this way, matching or not.
	Evaluated int
	// Probability of this way among all.
	Probability float64
	// Remembers names the lists of -m recent that hold the source afterwards.
	Remembers []string
}

// Steps returns the rules that matched, in the order in which the packet met them.
func (p Path) Steps() []Step {
	var steps []Step
	for s := p.last; s != nil; s = s.before {
		steps = append(steps, s.Step)
	}
	slices.Reverse(steps)
	return steps
}

// Outcome is one of the things that can become of the packet.
type Outcome struct {
	Verdict Verdict
	// To is the endpoint; only for DNAT.
	To netip.AddrPort
	// Masquerade: the endpoint sees an address of the node instead of the source.
	Masquerade bool
	// Probability is the sum over Paths.
	Probability float64
	// Paths are all ways to this outcome, in the order of the rules at which they part.
	Paths []Path
}

// Result is the distribution of the outcomes. Their probabilities sum to 1.
type Result struct {
	// Outcomes differ in verdict, endpoint or masquerade, and are ordered by these.
	Outcomes []Outcome
	// Unknown are the rules on the way that Rule has no words for. The walk takes them as not matching, so
	// with any of them the outcomes are a guess.
	Unknown []Step
}

// Worst returns the largest number of rules that the packet can be compared with.
func (r Result) Worst() int {
	worst := 0
	for _, o := range r.Outcomes {
		for _, p := range o.Paths {
			worst = max(worst, p.Evaluated)
		}
	}
	return worst
}

// Attach returns the Ruleset with built-in chains that hold the jumps into it, as they stand on a node where
// nobody else has rules: each jump was inserted at the top. Chains that rs has already stay as they are, so
// rules read from a kernel can be completed too, but need not be.
func Attach(rs ruleset.Ruleset) ruleset.Ruleset {
	attached := make(ruleset.Ruleset, len(rs)+len(hooks))
	for c, rules := range rs {
		attached[c] = rules
	}
	for _, j := range ruleset.Jumps() {
		if _, given := rs[j.From]; given {
			continue
		}
		attached[j.From] = append([]ruleset.Rule{j.Rule}, attached[j.From]...)
		to := ruleset.Chain{Table: j.From.Table, Name: j.To}
		if _, exists := attached[to]; !exists {
			attached[to] = nil // a jump is only ever inserted after its target was created
		}
	}
	return attached
}
