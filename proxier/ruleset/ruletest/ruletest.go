// Package ruletest makes random rules for tests. Every rule is one that iptables accepts and that
// ruleset.Rule.Validate lets pass; together they use every field of ruleset.Rule but Foreign and Acct, which
// need something that not every kernel has.
package ruletest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// Gen makes rules from a source of randomness; equal seeds make equal rules.
type Gen struct {
	Rand   *rand.Rand
	Family ipproto.Family
	// Hairpin allows rules that need xt_bpf.
	Hairpin bool
}

// New returns a generator with all matches.
func New(seed uint64, f ipproto.Family) Gen {
	return Gen{Rand: rand.New(rand.NewPCG(seed, uint64(f))), Family: f, Hairpin: true}
}

func (g Gen) one(in int) bool { return g.Rand.IntN(in) == 0 }

// Addr returns a unicast address.
func (g Gen) Addr() netip.Addr {
	if g.Family == ipproto.IPv4 {
		return netip.AddrFrom4([4]byte{10, byte(g.Rand.IntN(256)), byte(g.Rand.IntN(256)), byte(1 + g.Rand.IntN(250))})
	}
	a := [16]byte{0: 0xfd, 15: byte(1 + g.Rand.IntN(250))}
	for i := range g.Rand.IntN(8) {
		a[2+i] = byte(g.Rand.IntN(256))
	}
	return netip.AddrFrom16(a)
}

// Prefix returns a masked prefix that is not everything.
func (g Gen) Prefix() netip.Prefix {
	a := g.Addr()
	if g.one(2) {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.PrefixFrom(a, 1+g.Rand.IntN(a.BitLen())).Masked()
}

// Mark returns a mark that can match.
func (g Gen) mark() ruleset.Mark {
	m := ruleset.Mark{Mask: 1 << g.Rand.IntN(32)}
	if g.one(3) {
		m.Mask = max(g.Rand.Uint32(), 1)
	}
	m.Value = m.Mask
	if g.one(3) {
		m.Value &= g.Rand.Uint32()
	}
	return m
}

// comments have what has to be quoted, and what must not be.
var comments = []string{
	"default/kubernetes:https cluster IP", "plain", "two  blanks", " around ", "it's", "a;b|c&d$e`f", "-j DROP", "! -s x", "ünïcode", "#", "[1:2]", "100%",
}

// Rule returns a rule whose jump, if it leads to a chain, leads to one of these.
func (g Gen) Rule(chains ...string) ruleset.Rule {
	var r ruleset.Rule
	g.addresses(&r)
	g.matches(&r)
	g.memory(&r)
	g.target(&r, chains)
	return r
}

func (g Gen) addresses(r *ruleset.Rule) {
	if g.one(3) {
		r.Src, r.NotSrc = g.Prefix(), g.one(3)
	}
	if g.one(2) {
		r.Dst, r.NotDst = g.Prefix(), g.one(4)
	}
	if g.one(5) {
		r.In, r.NotIn = []string{"eth0", "veth+", "cni-bridge.1", "lo"}[g.Rand.IntN(4)], g.one(2)
	}
	if !g.one(3) {
		r.Proto = ipproto.Protos[g.Rand.IntN(len(ipproto.Protos))]
		if !g.one(3) {
			r.DstPorts = ruleset.Port(uint16(1 + g.Rand.IntN(65535)))
			if g.one(3) {
				r.DstPorts.Last = r.DstPorts.First + uint16(g.Rand.IntN(1+65535-int(r.DstPorts.First)))
			}
		}
	}
}

func (g Gen) matches(r *ruleset.Rule) {
	r.SrcLocal, r.DstLocal = g.one(8), g.one(8)
	if g.one(5) {
		r.States, r.NotStates = ruleset.States(1+g.Rand.IntN(31)), g.one(3)
	}
	if g.one(12) {
		r.OrigDst = g.Prefix()
	}
	if g.one(6) {
		r.Mark, r.NotMark = g.mark(), g.one(2)
	}
	r.Hairpin = g.Hairpin && g.one(12)
	if g.one(3) {
		r.Comment = comments[g.Rand.IntN(len(comments))]
	}
}

// memory adds the matches that have one.
func (g Gen) memory(r *ruleset.Rule) {
	if g.one(3) {
		den := 2 + g.Rand.IntN(200)
		if g.one(4) {
			den = 2 + g.Rand.IntN(40000)
		}
		r.Share = ruleset.NewShare(1+g.Rand.IntN(den-1), den)
	}
	if g.one(5) {
		r.Recent = ruleset.Recent{List: fmt.Sprintf("KUBE-SEP-%d", g.Rand.IntN(1000)), Set: true}
		if g.one(2) {
			r.Recent.Check, r.Recent.Seconds = true, 1+g.Rand.Uint32N(86400)
			r.Recent.Set = g.one(2)
		}
	}
}

func (g Gen) target(r *ruleset.Rule, chains []string) {
	targets := []string{"", ruleset.Accept, ruleset.Return, ruleset.MarkTarget}
	if r.Proto != ipproto.UnknownProto {
		targets = append(targets, ruleset.DNAT, ruleset.DNAT, ruleset.DNAT)
	}
	targets = append(targets, chains...)
	r.Jump = targets[g.Rand.IntN(len(targets))]
	switch r.Jump {
	case ruleset.DNAT:
		r.To = netip.AddrPortFrom(g.Addr(), uint16(1+g.Rand.IntN(65535)))
	case ruleset.MarkTarget:
		r.SetMark = g.mark()
		if g.one(3) {
			r.SetMark = ruleset.Mark{Value: 1 << g.Rand.IntN(32)}
		}
	}
}

// Ruleset returns n chains of the table, with up to most rules each, whose jumps lead to later chains only, so
// that there is no loop, and not through more than deepest of them: nf_tables refuses more than 16 in all.
func (g Gen) Ruleset(t ruleset.Table, n, most int) ruleset.Ruleset {
	const deepest = 12
	prefixes := []string{ruleset.PrefixService, ruleset.PrefixLocal, ruleset.PrefixEndpoint, ruleset.PrefixExternal, ruleset.PrefixFirewall}
	names := make([]string, n)
	for i := range names {
		names[i] = prefixes[g.Rand.IntN(len(prefixes))] + fmt.Sprintf("%04d-%08x", i, g.Rand.Uint32())
	}
	rs := ruleset.Ruleset{}
	for i, name := range names {
		var rules []ruleset.Rule
		for range g.Rand.IntN(most + 1) {
			rules = append(rules, g.Rule(names[i+1:min(i+5, (i/deepest+1)*deepest, n)]...))
		}
		rs[ruleset.Chain{Table: t, Name: name}] = rules
	}
	return rs
}
