package plan

import (
	"net/netip"

	"espalier/proxier/ruleset"
)

// treeID names one of the trees that Services share.
type treeID uint8

const (
	frontends        treeID = iota // nat KUBE-SERVICES: addresses and ports that are served
	nodePorts                      // nat KUBE-NODEPORTS
	refusedInternal                // filter KUBE-SERVICES: cluster IPs that cannot be served
	refusedExternal                // filter KUBE-EXTERNAL-SERVICES: the same for external IPs and VIPs
	refusedNodePorts               // filter KUBE-EXTERNAL-SERVICES: and for node ports
	firewalled                     // filter KUBE-PROXY-FIREWALL: VIPs with source ranges
	healthChecks                   // filter KUBE-NODEPORTS
	natHairpins                    // nat KUBE-SEP-HAIRPIN: endpoints, where the kernel cannot compare addresses
	filterHairpins                 // filter KUBE-SEP-HAIRPIN
	numTrees
)

// shared reports whether several Services may well claim the same place.
func (id treeID) shared() bool { return id == natHairpins || id == filterHairpins }

// verdicts reports whether the entries of the tree refuse or drop connections.
func (id treeID) verdicts() bool {
	return id == refusedInternal || id == refusedExternal || id == refusedNodePorts || id == firewalled
}

// hairpinChain is the top of the trees that find hairpin connections without xt_bpf.
const hairpinChain = ruleset.PrefixEndpoint + "HAIRPIN"

// tree returns how the entries of a tree become chains.
func (p *Planner) tree(id treeID) tree {
	named := func(t ruleset.Table, prefix string) tree {
		return tree{table: t, name: func(k key) string { return k.chainName(prefix) }}
	}
	switch id {
	case frontends:
		t := named(ruleset.Nat, ruleset.PrefixService)
		t.masq = clusterIPMasquerade(p.cfg)
		return t
	case nodePorts:
		return named(ruleset.Nat, ruleset.PrefixExternal)
	case refusedInternal:
		return named(ruleset.Filter, ruleset.PrefixService)
	case refusedExternal, refusedNodePorts:
		return named(ruleset.Filter, ruleset.PrefixExternal)
	case firewalled:
		return named(ruleset.Filter, ruleset.PrefixFirewall)
	case healthChecks:
		return named(ruleset.Filter, ruleset.PrefixLocal)
	case natHairpins:
		return named(ruleset.Nat, ruleset.PrefixEndpoint)
	default:
		return named(ruleset.Filter, ruleset.PrefixEndpoint)
	}
}

// top returns the rules of the chain at the top of a tree.
func (p *Planner) top(id treeID) []ruleset.Rule { return p.tree(id).chain(p.trees[id].root) }

// fixed plans the chains with fixed names, which hold the tops of the trees and what no Service decides.
func (u *update) fixed() {
	u.natChains()
	u.filterChains()
}

// set plans a chain that exists whatever Services there are.
func (u *update) set(t ruleset.Table, name string, rules ...ruleset.Rule) {
	c := ruleset.Chain{Table: t, Name: name}
	u.after[c] = true
	u.write(c, rules)
}

func (u *update) natChains() {
	u.set(ruleset.Nat, ruleset.Services, append(u.top(frontends), u.nodePortTail()...)...)
	u.set(ruleset.Nat, ruleset.NodePorts, u.top(nodePorts)...)
	u.set(ruleset.Nat, ruleset.MarkMasq, ruleset.Rule{Jump: ruleset.MarkTarget, SetMark: u.cfg.mark()})

	var post []ruleset.Rule
	if u.cfg.CountLocalhost && u.cfg.Localhost(u.family) {
		// Once for all node ports: a connection to loopback that was translated.
		post = append(post, ruleset.Rule{States: ruleset.StateDNAT, OrigDst: u.family.Loopback(), Acct: AcctLocalhost})
	}
	u.set(ruleset.Nat, ruleset.Postrouting, append(post,
		u.hairpin(natHairpins, ruleset.MarkMasq),
		ruleset.Rule{Mark: u.cfg.mark(), NotMark: true, Jump: ruleset.Return},
		// Clear the mark: a packet that comes by again, in a tunnel say, is not masqueraded twice (k/k#78547).
		ruleset.Rule{Jump: ruleset.MarkTarget, SetMark: ruleset.Mark{Value: u.cfg.MasqueradeMark}},
		ruleset.Rule{Comment: "kubernetes service traffic requiring SNAT", Jump: ruleset.Masquerade},
	)...)
}

// clusterIPMasquerade returns the rules around the cluster IPs of a leaf; nil if none is needed.
func clusterIPMasquerade(cfg Config) *masqRules {
	mark := ruleset.Rule{Jump: ruleset.MarkMasq}
	unmark := ruleset.Rule{Jump: ruleset.MarkTarget, SetMark: ruleset.Mark{Mask: cfg.MasqueradeMark}}
	switch {
	case cfg.MasqueradeAll:
		return &masqRules{mark, unmark}
	case cfg.Detector.Present() && !cfg.Detector.everything():
		return &masqRules{cfg.Detector.notLocal(mark), cfg.Detector.notLocal(unmark)}
	}
	return nil
}

// hairpin returns the rule for connections that were translated and now lead back to where they came from.
// Where the kernel cannot compare two addresses it leads to a tree over all endpoints.
//
// It holds for whatever was translated, also by others: without a changed source such a connection never works.
func (u *update) hairpin(id treeID, jump string) ruleset.Rule {
	if !u.cfg.NoHairpinMatch {
		return ruleset.Rule{States: ruleset.StateDNAT, Hairpin: true, Jump: jump}
	}
	u.set(u.tree(id).table, hairpinChain, u.top(id)...)
	return ruleset.Rule{States: ruleset.StateDNAT, Jump: hairpinChain}
}

// nodePortTail returns the rules that lead packets for the node's own addresses to KUBE-NODEPORTS.
func (u *update) nodePortTail() []ruleset.Rule {
	r := ruleset.Rule{
		Comment: "kubernetes service nodeports; NOTE: this must be the last rule in this chain",
		Jump:    ruleset.NodePorts,
	}
	if u.cfg.EveryAddress() {
		r.DstLocal = true
		if !u.cfg.Localhost(u.family) {
			r.Dst, r.NotDst = u.family.Loopback(), true
		}
		return []ruleset.Rule{r}
	}
	var addrs index
	for _, a := range u.cfg.NodePortAddrs(u.node, u.family) {
		addrs.add(claim{entry: entry{key: prefixKey(netip.PrefixFrom(a, a.BitLen())), rule: r}})
	}
	t := u.tree(nodePorts)
	below := ruleset.Ruleset{}
	t.all(addrs.root, below)
	for c, rules := range below {
		u.set(c.Table, c.Name, rules...)
	}
	return t.chain(addrs.root)
}

func (u *update) filterChains() {
	u.set(ruleset.Filter, ruleset.Services, u.top(refusedInternal)...)
	u.set(ruleset.Filter, ruleset.ProxyFirewall, u.top(firewalled)...)
	u.set(ruleset.Filter, ruleset.NodePorts, u.top(healthChecks)...)
	closed := u.top(refusedNodePorts)
	for i := range closed {
		closed[i].DstLocal = true // on whatever address of the node
	}
	u.set(ruleset.Filter, ruleset.ExternalServices, append(u.top(refusedExternal), closed...)...)

	var forward []ruleset.Rule
	if u.cfg.DropInvalid {
		r := ruleset.Rule{States: ruleset.StateInvalid, Jump: ruleset.Drop}
		if u.cfg.CountInvalid {
			r.Acct = AcctInvalid
		}
		forward = append(forward, r)
	}
	u.set(ruleset.Filter, ruleset.Forward, append(forward,
		ruleset.Rule{Comment: "kubernetes forwarding rules", Mark: u.cfg.mark(), Jump: ruleset.Accept},
		ruleset.Rule{
			Comment: "kubernetes forwarding conntrack rule",
			States:  ruleset.StateRelated | ruleset.StateEstablished, Jump: ruleset.Accept,
		},
		// Last, so that only first packets pay for it. KUBE-POSTROUTING has not marked them yet.
		u.hairpin(filterHairpins, ruleset.Accept))...)

	if u.cfg.Localhost(u.family) {
		// With route_localnet set, neighbours could reach what listens on 127.0.0.0/8 (CVE-2020-8558). The
		// kubelet writes the same rule.
		loopback := u.family.Loopback()
		u.set(ruleset.Filter, ruleset.Firewall, ruleset.Rule{
			Comment: "block incoming localnet connections",
			Dst:     loopback, Src: loopback, NotSrc: true,
			States: ruleset.StateRelated | ruleset.StateEstablished | ruleset.StateDNAT, NotStates: true,
			Jump: ruleset.Drop,
		})
	}
}
