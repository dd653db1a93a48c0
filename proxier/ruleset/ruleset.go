// Package ruleset holds iptables rules as values: what a chain contains, what it is called, how it is written
// as iptables-restore input and how it is read back from iptables-save output.
//
// It knows the words of iptables, the names of the chains that a Service proxy owns, and nothing of Services
// or of the running kernel.
//
// The one rule to respect: a Rule is compared with ==, never by its text. iptables-save does not echo what was
// written: it moves matches, adds /32 and prints 0.3333333333 as 0.33333333349.
package ruleset

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"espalier/proxier/ipproto"
)

// Table is a table of iptables.
type Table uint8

// The tables in the order in which they are written.
const (
	Mangle Table = iota // holds only canaries and the kubelet's hint chain, never rules of ours
	Filter
	Nat
)

// String returns the name as iptables spells it.
func (t Table) String() string {
	switch t {
	case Mangle:
		return "mangle"
	case Filter:
		return "filter"
	case Nat:
		return "nat"
	}
	return "unknown"
}

// ParseTable is the inverse of String; tables that no proxy touches (raw, security) are not known.
func ParseTable(s string) (Table, bool) {
	for _, t := range []Table{Mangle, Filter, Nat} {
		if s == t.String() {
			return t, true
		}
	}
	return 0, false
}

// Chain names one chain of one table.
type Chain struct {
	Table Table
	Name  string // at most 28 bytes
}

// String returns "table/NAME".
func (c Chain) String() string { return c.Table.String() + "/" + c.Name }

// Compare orders by table, then by name.
func (c Chain) Compare(o Chain) int {
	return cmp.Or(cmp.Compare(c.Table, o.Table), strings.Compare(c.Name, o.Name))
}

// Ruleset is the content of chains. A chain that is present without rules exists and is empty.
type Ruleset map[Chain][]Rule

// Chains returns the chains in order.
func (rs Ruleset) Chains() []Chain {
	keys := make([]Chain, 0, len(rs))
	for c := range rs {
		keys = append(keys, c)
	}
	slices.SortFunc(keys, Chain.Compare)
	return keys
}

// Ports is a range of ports, both ends inclusive. The zero value does not constrain the packet.
type Ports struct {
	First, Last uint16
}

// Port is the range of one port.
func Port(p uint16) Ports { return Ports{p, p} }

// States is a set of conntrack states; the zero value does not constrain the packet.
type States uint8

// The conntrack states that rules of ours ask for, as -m conntrack --ctstate names them.
const (
	StateInvalid States = 1 << iota
	StateNew
	StateRelated
	StateEstablished
	StateDNAT
)

// Recent is a use of -m recent: a list of source addresses in the kernel, kept by name. The zero value is none.
type Recent struct {
	// List is the name in /proc/net/xt_recent.
	List string
	// Seconds is the age up to which an entry counts when it is asked for (--rcheck --seconds --reap).
	Seconds uint32
	// Check asks the list; Set enters the source. With both, the rule has both matches, in this order.
	Check, Set bool
}

// Mark is a value under a mask. For a match: packet mark & Mask == Value. For the MARK target, as the kernel
// does it for --set-xmark: packet mark = (packet mark &^ Mask) ^ Value. The zero value is none.
type Mark struct {
	Value, Mask uint32
}

// Rule is one line of a chain. A zero field does not constrain the packet.
//
// Rule holds no pointer to shared data and no slice, so == decides whether the kernel needs a rewrite.
type Rule struct {
	Src, Dst       netip.Prefix // masked
	NotSrc, NotDst bool         // needs Src, Dst

	// In is the input interface; a trailing + stands for any suffix.
	In    string
	NotIn bool

	// SrcLocal and DstLocal: the address is one of this host (-m addrtype).
	SrcLocal, DstLocal bool

	Proto    ipproto.Proto
	DstPorts Ports // needs Proto

	States    States
	NotStates bool
	// OrigDst is the destination before translation (-m conntrack --ctorigdst).
	OrigDst netip.Prefix

	// Mark is a match; with NotMark it is inverted.
	Mark    Mark
	NotMark bool

	// Hairpin: source and destination address are equal. iptables has no such match; it is an xt_bpf program.
	Hairpin bool

	// Share is the part of the packets that the rule takes at random; the zero value: all.
	Share Share

	Recent Recent

	// Acct is the name of an nfacct object that counts what gets here.
	Acct string

	// Comment is for the operator; at most 255 bytes, no line break, no double quote, no backslash.
	Comment string

	// Jump is a chain of the same table or a target: ACCEPT, DROP, REJECT, RETURN, DNAT, MARK, MASQUERADE.
	// Empty: the rule counts and decides nothing.
	Jump string
	// To is where DNAT goes; only for DNAT.
	To netip.AddrPort
	// SetMark is what MARK does; only for MARK.
	SetMark Mark

	// Foreign is the text, after "-A CHAIN ", of a rule that Rule has no words for. It is only ever read from
	// a kernel; no other field is set then, except Jump and Comment, so that references are known.
	Foreign string
}

// Targets that are not chains.
const (
	Accept     = "ACCEPT"
	Drop       = "DROP"
	Reject     = "REJECT"
	Return     = "RETURN"
	DNAT       = "DNAT"
	MarkTarget = "MARK"
	Masquerade = "MASQUERADE" // always with --random-fully
)

// JumpsTo returns the chain of the same table that the rule refers to, if any.
func (r Rule) JumpsTo() (string, bool) {
	switch r.Jump {
	case "", Accept, Drop, Reject, Return, DNAT, MarkTarget, Masquerade:
		return "", false
	}
	return r.Jump, true
}
