package delta

import (
	"slices"

	"espalier/proxier/ruleset"
)

// Between returns the batch that makes the chains of have what want says. have may be all that a kernel has:
// only chains that are ruleset.Owned are candidates for deletion, and KUBE-FIREWALL never is, because the
// kubelet relies on it. The more of the others have holds, the more is known about who refers to what: a chain
// that a rule of somebody else refers to cannot be deleted, so it is emptied, and listed in Held.
//
// Jumps from built-in chains are not part of want; see Attach.
//
// Invariant: the owned chains of Apply(have, Between(have, want)) are those of want, plus the empty ones that
// are held; and Between(x, x) is empty.
//
// On the order of the two tables, which iptables commits one after the other: a Service has its REJECT or DROP
// in filter, its DNAT in nat, and filter sees a packet after nat. With both in place an endpoint still answers;
// with neither the packet leaves the node untranslated, and the kernel keeps to that for all packets of the connection, the
// repeated ones included: its sender waits until it gives up. So filter goes first when verdicts appear (endpoints are lost,
// or source ranges begin to hold), and nat goes first when filter only loses verdicts (endpoints appear). When verdicts both
// appear and vanish in one batch, filter goes first: what it guards is then never open. Those that vanish had better be left
// for a second batch; see Steps. The same order makes a batch harmless whose second table is refused.
func Between(have, want ruleset.Ruleset) Batch {
	b := Batch{Write: ruleset.Ruleset{}, New: map[ruleset.Chain]bool{}}
	for c, rules := range want {
		old, ok := have[c]
		if !ok {
			b.New[c] = true
		}
		if !ok || !same(old, rules) {
			b.Write[c] = rules
		}
	}
	gone := map[ruleset.Chain]bool{}
	for c := range have {
		if _, wanted := want[c]; !wanted && ruleset.Owned(c) && c.Name != ruleset.Firewall {
			gone[c] = true
		}
	}
	b.remove(have, want, gone)
	return b
}

// Removal returns the batch that removes everything a Service proxy in iptables mode left behind: what we
// write ourselves and what kube-proxy writes, its canaries and the rules of its mode ipvs included. have is all that
// the kernel has in the filter, nat and mangle tables. KUBE-FIREWALL with its jumps, and what belongs to the kubelet and to others,
// stay.
func Removal(have ruleset.Ruleset) Batch {
	b := Batch{Write: ruleset.Ruleset{}, New: map[ruleset.Chain]bool{}}
	for _, j := range append(ruleset.Jumps(), ruleset.IPVSJumps()...) {
		if j.To == ruleset.Firewall {
			continue
		}
		for _, r := range have[j.From] {
			if r == j.Rule {
				b.Unjump = append(b.Unjump, j)
			}
		}
	}
	gone := map[ruleset.Chain]bool{}
	for c := range have {
		if c.Name == ruleset.ProxyCanary || ruleset.OwnedByIPVSMode(c) || ruleset.Owned(c) && c.Name != ruleset.Firewall {
			gone[c] = true
		}
	}
	b.remove(have, nil, gone)
	return b
}

// remove adds the deletion of the chains to the batch, and what else depends on all of have.
func (b *Batch) remove(have, want ruleset.Ruleset, gone map[ruleset.Chain]bool) {
	b.hold(have, want, gone)
	doomed := make(ruleset.Ruleset, len(gone))
	for c := range gone {
		doomed[c] = have[c]
	}
	b.Delete = leavesFirst(doomed)
	slices.Reverse(b.Delete)
	gains, loses := b.verdicts(have)
	b.NatFirst = loses && !gains
	b.Standing = standing(have)
}

// hold takes the chains out of gone that rules of others refer to.
func (b *Batch) hold(have, want ruleset.Ruleset, gone map[ruleset.Chain]bool) {
	if len(gone) == 0 {
		return
	}
	for _, from := range have.Chains() {
		if _, ours := want[from]; ours || gone[from] {
			continue
		}
		left := have[from]
		for _, j := range b.Unjump {
			if i := slices.Index(left, j.Rule); j.From == from && i >= 0 {
				left = slices.Delete(slices.Clone(left), i, i+1)
			}
		}
		for _, r := range left {
			name, ok := r.JumpsTo()
			to := ruleset.Chain{Table: from.Table, Name: name}
			if ok && gone[to] {
				b.Held = append(b.Held, Reference{From: from, Rule: r, To: to})
			}
		}
	}
	for _, ref := range b.Held {
		delete(gone, ref.To)
		if len(have[ref.To]) > 0 {
			b.Write[ref.To] = nil
		}
	}
}

// verdicts reports whether the filter table has verdicts after the batch that it did not have before, and the other way round.
func (b *Batch) verdicts(have ruleset.Ruleset) (gains, loses bool) {
	more := map[ruleset.Rule]int{}
	count := func(rules []ruleset.Rule, n int) {
		for _, r := range rules {
			if verdict(r) {
				more[r] += n
			}
		}
	}
	for c, rules := range b.Write {
		if c.Table == ruleset.Filter {
			count(have[c], -1)
			count(rules, 1)
		}
	}
	for _, c := range b.Delete {
		if c.Table == ruleset.Filter {
			count(have[c], -1)
		}
	}
	for _, n := range more {
		gains, loses = gains || n > 0, loses || n < 0
	}
	return gains, loses
}

// verdict reports whether a rule of the filter table decides about a packet.
func verdict(r ruleset.Rule) bool {
	_, jumps := r.JumpsTo()
	return !jumps && r.Jump != ruleset.Return
}

// standing counts the rules of the largest table.
func standing(have ruleset.Ruleset) int {
	var n [ruleset.Nat + 1]int
	for c, rules := range have {
		if int(c.Table) < len(n) {
			n[c.Table] += len(rules)
		}
	}
	return slices.Max(n[:])
}

// same compares two chains. Chains of unchanged Services are mostly the very same slice.
func same(a, b []ruleset.Rule) bool {
	if len(a) != len(b) {
		return false
	}
	return len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b)
}
