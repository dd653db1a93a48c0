package trace

import (
	"net/netip"
	"strings"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// matches reports whether every match of the rule, chance aside, holds for the packet. A match that would not
// be written, such as ports without a protocol, does not constrain it: the kernel never hears of it.
func (w *walker) matches(r *ruleset.Rule, b *branch) bool {
	return prefixMatches(r.Src, r.NotSrc, b.src) &&
		prefixMatches(r.Dst, r.NotDst, b.dst) &&
		(r.In == "" || interfaceMatches(r.In, b.in) != r.NotIn) &&
		(r.Proto == ipproto.UnknownProto || r.Proto == w.proto && portMatches(r.DstPorts, b.port)) &&
		(!r.SrcLocal || w.host.local(b.src)) &&
		(!r.DstLocal || w.host.local(b.dst)) &&
		(r.States == 0 || (r.States&b.states != 0) != r.NotStates) &&
		prefixMatches(r.OrigDst, false, w.origDst) &&
		(r.Mark == ruleset.Mark{} || (b.mark&r.Mark.Mask == r.Mark.Value) != r.NotMark) &&
		(!r.Hairpin || b.src == b.dst) &&
		(!r.Recent.Check || w.recent[r.Recent.List] || b.remembers.has(r.Recent.List))
}

func prefixMatches(p netip.Prefix, not bool, a netip.Addr) bool {
	return !p.IsValid() || p.Contains(a) != not
}

// interfaceMatches compares as iptables does: a trailing + stands for any suffix, the empty one included. A
// packet without an input interface has the empty name.
func interfaceMatches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "+"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

func portMatches(p ruleset.Ports, port uint16) bool {
	return p == ruleset.Ports{} || p.First <= port && port <= p.Last
}

// chance returns the probability that a rule whose matches hold takes the packet.
func chance(s ruleset.Share) float64 {
	if s.Den == 0 {
		return 1
	}
	return float64(s.Num) / float64(s.Den)
}

// apply is -j MARK.
func apply(m ruleset.Mark, mark uint32) uint32 { return mark&^m.Mask ^ m.Value }
