package trace

import "espalier/proxier/ruleset"

// hook is a built-in chain at which a packet passes.
type hook uint8

const (
	done hook = iota // after the last one
	natPrerouting
	natInput
	natOutput
	natPostrouting
	filterInput
	filterForward
	filterOutput
)

// hooks names the built-in chain of each hook.
var hooks = [...]ruleset.Chain{
	natPrerouting:  {Table: ruleset.Nat, Name: "PREROUTING"},
	natInput:       {Table: ruleset.Nat, Name: "INPUT"},
	natOutput:      {Table: ruleset.Nat, Name: "OUTPUT"},
	natPostrouting: {Table: ruleset.Nat, Name: "POSTROUTING"},
	filterInput:    {Table: ruleset.Filter, Name: "INPUT"},
	filterForward:  {Table: ruleset.Filter, Name: "FORWARD"},
	filterOutput:   {Table: ruleset.Filter, Name: "OUTPUT"},
}

func (h hook) nat() bool { return h >= natPrerouting && h <= natPostrouting }

// next returns the hook after b.hook. A packet that the node sends to itself, also after translation, leaves
// through POSTROUTING and comes back by the interface lo. It is the same packet of the same connection, whose
// translations are settled: it does not see the nat table again (nf_nat_inet_fn in net/netfilter/nf_nat_core.c),
// but it is still new, translated and marked, with the source that MASQUERADE gave it. Measured on Linux 6.18.
func (w *walker) next(b *branch) hook {
	switch b.hook {
	case natPrerouting:
		if w.host.local(b.dst) {
			return filterInput
		}
		return filterForward
	case filterInput:
		if w.generated {
			return done
		}
		return natInput
	case filterForward:
		return natPostrouting
	case natOutput:
		return filterOutput
	case filterOutput:
		return natPostrouting
	case natPostrouting:
		if w.generated && w.host.local(b.dst) {
			return filterInput
		}
	}
	return done
}

// interfaceAt returns the input interface that rules see at the hook: none on the way out.
func (w *walker) interfaceAt(h hook) string {
	switch {
	case h == natOutput || h == filterOutput || h == natPostrouting:
		return ""
	case w.generated:
		return "lo"
	}
	return w.in
}

// allows reports whether the kernel lets the target stand where it can be reached from the hook.
func (h hook) allows(target string) bool {
	switch target {
	case ruleset.DNAT:
		return h == natPrerouting || h == natOutput
	case ruleset.Masquerade:
		return h == natPostrouting
	case ruleset.Reject:
		return !h.nat()
	}
	return true
}
