// Package plan decides which rules a node needs: it turns a Snapshot of the cluster into a Ruleset.
//
// It knows what Kubernetes promises of Services and how rules keep these promises cheaply. It does not know
// what the kernel holds at the moment, how rules are written there, or where the Snapshot came from. Every
// function in here is pure: equal input gives equal rules, in whatever order the cluster's objects came.
//
// # Shape
//
// Frontends (cluster IPs, external IPs, load-balancer VIPs; node ports; verdicts of the filter table) hang on
// dispatch trees: short chains of jumps by address prefix or port range, at whose ends stands one rule for each
// address, protocol and port. A packet pays for the depth of the tree, not for the number of Services:
//
//	KUBE-SERVICES
//	├─ -d 10.96.0.0/16 → KUBE-SVC-10.96.0.0/16
//	│  ├─ -d 10.96.0.0/20 → KUBE-SVC-10.96.0.0/20
//	│  │  ├─ ! -s 10.244.0.0/16 → KUBE-MARK-MASQ           not from a pod: masquerade …
//	│  │  ├─ -d 10.96.0.10 -p udp --dport 53 → KUBE-SVC-TCOU7JCQXEZGVUNU
//	│  │  │  ├─ probability 1/2 → DNAT 10.244.1.3:53        one rule for each endpoint
//	│  │  │  └─ DNAT 10.244.2.7:53
//	│  │  ├─ -d 10.96.4.1 -p tcp --dport 80 → DNAT 10.244.1.9:8080   one endpoint: no chain at all
//	│  │  └─ ! -s 10.244.0.0/16 → MARK and-not              … unless nothing matched
//	│  └─ …
//	├─ …
//	└─ to an address of the node → KUBE-NODEPORTS
//	   └─ -p tcp --dport 30000:31023 → KUBE-EXT-tcp-30000-31023 …
//
// Masquerading is decided once for each leaf and not once for each Service. Endpoints that call themselves
// (hairpin) are found by one rule for all in KUBE-POSTROUTING and KUBE-FORWARD.
package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// Plan returns the content of every chain that the node should have for one family, and what could not be
// planned. KUBE-FIREWALL is only in it where the plan has rules for it; it must exist in any case.
func Plan(s model.Snapshot, cfg Config) (ruleset.Ruleset, []model.Problem) {
	all := contribution{chains: ruleset.Ruleset{}}
	owner := owners{}
	names := slices.SortedFunc(maps.Keys(s.Services), model.ServiceName.Compare)
	for _, name := range names {
		c := contribute(s.Services[name], s.Node, s.Family, cfg)
		maps.Copy(all.chains, c.chains)
		all.frontends = owner.claim(all.frontends, c.frontends, "nat frontends", name)
		all.nodePorts = owner.claim(all.nodePorts, c.nodePorts, "nat node ports", name)
		all.internal = owner.claim(all.internal, c.internal, "internal", name)
		all.external = owner.claim(all.external, c.external, "external", name)
		all.closedPorts = owner.claim(all.closedPorts, c.closedPorts, "closed node ports", name)
		all.firewall = owner.claim(all.firewall, c.firewall, "firewall", name)
		all.healthChecks = owner.claim(all.healthChecks, c.healthChecks, "health checks", name)
		all.reachable = append(all.reachable, c.reachable...)
	}
	out := all.chains
	all.filterTable(out, s, cfg)
	all.natTable(out, s, cfg)
	return out, owner.problems
}

// owners remembers which Service a place in a tree belongs to. Two Services can only ask for the same place by
// mistake (the same external IP or VIP with the same port, or files that no API server has checked); the
// first by name keeps it.
type owners struct {
	of       map[claim]model.ServiceName
	problems []model.Problem
}

type claim struct {
	tree string
	key  key
}

func (o *owners) claim(have, more []entry, tree string, svc model.ServiceName) []entry {
	if o.of == nil {
		o.of = map[claim]model.ServiceName{}
	}
	for _, e := range more {
		c := claim{tree, e.key}
		first, taken := o.of[c]
		if !taken {
			o.of[c] = svc
			have = append(have, e)
			continue
		}
		if first != svc { // within one Service the first rule wins by design
			r := e.key.match(ruleset.Rule{})
			o.problems = append(o.problems, model.Problem{
				Object: "Service " + svc.String(),
				Text:   fmt.Sprintf("%s is already used by Service %s; this Service does not get it", describe(r), first),
			})
		}
	}
	return have
}

func describe(r ruleset.Rule) string {
	port := fmt.Sprintf("port %s/%s", r.DstPorts, r.Proto)
	if r.Dst.IsValid() {
		return r.Dst.Addr().String() + " " + port
	}
	return "node " + port
}

func sorted(entries []entry) []entry {
	slices.SortFunc(entries, func(a, b entry) int { return a.key.compare(b.key) })
	return entries
}

// dispatch returns the rules at the top of a tree whose chains begin with prefix.
func dispatch(out ruleset.Ruleset, table ruleset.Table, prefix string, entries []entry, masq *masqRules) []ruleset.Rule {
	t := tree{out: out, table: table, masq: masq, name: func(k key) string { return k.chainName(prefix) }}
	return t.root(sorted(entries))
}

// natTable adds the chains with fixed names in the nat table, and the trees below them.
func (c *contribution) natTable(out ruleset.Ruleset, s model.Snapshot, cfg Config) {
	set := func(name string, rules ...ruleset.Rule) { out[ruleset.Chain{Table: ruleset.Nat, Name: name}] = rules }
	set(ruleset.Services, append(
		dispatch(out, ruleset.Nat, ruleset.PrefixService, c.frontends, clusterIPMasquerade(cfg)),
		nodePortTail(out, s, cfg)...)...)
	set(ruleset.NodePorts, dispatch(out, ruleset.Nat, ruleset.PrefixExternal, c.nodePorts, nil)...)
	set(ruleset.MarkMasq, ruleset.Rule{Jump: ruleset.MarkTarget, SetMark: cfg.mark()})

	var post []ruleset.Rule
	if cfg.CountLocalhost && cfg.Localhost(s.Family) {
		// Once for all node ports: a connection to loopback that was translated.
		post = append(post, ruleset.Rule{States: ruleset.StateDNAT, OrigDst: s.Family.Loopback(), Acct: AcctLocalhost})
	}
	post = append(post,
		c.hairpin(out, s.Family, cfg, ruleset.Nat, ruleset.Rule{Jump: ruleset.MarkMasq}),
		ruleset.Rule{Mark: cfg.mark(), NotMark: true, Jump: ruleset.Return},
		// Clear the mark: a packet that comes by again, in a tunnel say, is not masqueraded twice (k/k#78547).
		ruleset.Rule{Jump: ruleset.MarkTarget, SetMark: ruleset.Mark{Value: cfg.MasqueradeMark}},
		ruleset.Rule{Comment: "kubernetes service traffic requiring SNAT", Jump: ruleset.Masquerade},
	)
	set(ruleset.Postrouting, post...)
}

// clusterIPMasquerade returns the rules around the cluster IPs of a leaf; nil if none is needed.
func clusterIPMasquerade(cfg Config) *masqRules {
	mark := ruleset.Rule{Jump: ruleset.MarkMasq}
	unmark := ruleset.Rule{Jump: ruleset.MarkTarget, SetMark: ruleset.Mark{Mask: cfg.MasqueradeMark}}
	switch {
	case cfg.MasqueradeAll:
		return &masqRules{mark, unmark}
	case cfg.Detector.Present():
		return &masqRules{cfg.Detector.notLocal(mark), cfg.Detector.notLocal(unmark)}
	}
	return nil
}

// hairpin returns the rule for connections that were translated and now lead back to where they came from,
// with the target of r. Where the kernel cannot compare two addresses it is a tree over all endpoints.
//
// It holds for whatever was translated, also by others: without a changed source such a connection never works.
func (c *contribution) hairpin(out ruleset.Ruleset, f ipproto.Family, cfg Config, table ruleset.Table, r ruleset.Rule) ruleset.Rule {
	r.States = ruleset.StateDNAT
	if !cfg.NoHairpinMatch {
		r.Hairpin = true
		return r
	}
	addrs := slices.Clone(c.reachable)
	slices.SortFunc(addrs, netip.Addr.Compare)
	var entries []entry
	for _, a := range slices.Compact(addrs) {
		p := netip.PrefixFrom(a, a.BitLen())
		entries = append(entries, entry{key: prefixKey(p), rule: ruleset.Rule{Src: p, Jump: r.Jump}})
	}
	chain := ruleset.Chain{Table: table, Name: ruleset.PrefixEndpoint + "HAIRPIN"}
	out[chain] = dispatch(out, table, ruleset.PrefixEndpoint, entries, nil)
	return ruleset.Rule{States: ruleset.StateDNAT, Jump: chain.Name}
}

// nodePortTail returns the rules that lead packets for the node's own addresses to KUBE-NODEPORTS.
func nodePortTail(out ruleset.Ruleset, s model.Snapshot, cfg Config) []ruleset.Rule {
	r := ruleset.Rule{
		Comment: "kubernetes service nodeports; NOTE: this must be the last rule in this chain",
		Jump:    ruleset.NodePorts,
	}
	if cfg.EveryAddress() {
		r.DstLocal = true
		if !cfg.Localhost(s.Family) {
			r.Dst, r.NotDst = s.Family.Loopback(), true
		}
		return []ruleset.Rule{r}
	}
	var entries []entry
	for _, a := range cfg.NodePortAddrs(s.Node, s.Family) {
		entries = append(entries, entry{key: prefixKey(netip.PrefixFrom(a, a.BitLen())), rule: r})
	}
	return dispatch(out, ruleset.Nat, ruleset.PrefixExternal, entries, nil)
}

// filterTable adds the chains with fixed names in the filter table, and the trees below them.
func (c *contribution) filterTable(out ruleset.Ruleset, s model.Snapshot, cfg Config) {
	set := func(name string, rules ...ruleset.Rule) {
		out[ruleset.Chain{Table: ruleset.Filter, Name: name}] = rules
	}
	set(ruleset.Services, dispatch(out, ruleset.Filter, ruleset.PrefixService, c.internal, nil)...)
	set(ruleset.ProxyFirewall, dispatch(out, ruleset.Filter, ruleset.PrefixFirewall, c.firewall, nil)...)
	set(ruleset.NodePorts, dispatch(out, ruleset.Filter, ruleset.PrefixLocal, c.healthChecks, nil)...)
	set(ruleset.ExternalServices, append(
		dispatch(out, ruleset.Filter, ruleset.PrefixExternal, c.external, nil),
		closedNodePorts(out, c.closedPorts)...)...)

	var forward []ruleset.Rule
	if cfg.DropInvalid {
		r := ruleset.Rule{States: ruleset.StateInvalid, Jump: ruleset.Drop}
		if cfg.CountInvalid {
			r.Acct = AcctInvalid
		}
		forward = append(forward, r)
	}
	set(ruleset.Forward, append(forward,
		ruleset.Rule{Comment: "kubernetes forwarding rules", Mark: cfg.mark(), Jump: ruleset.Accept},
		ruleset.Rule{
			Comment: "kubernetes forwarding conntrack rule",
			States:  ruleset.StateRelated | ruleset.StateEstablished, Jump: ruleset.Accept,
		},
		// Last, so that only first packets pay for it. KUBE-POSTROUTING has not marked them yet.
		c.hairpin(out, s.Family, cfg, ruleset.Filter, ruleset.Rule{Jump: ruleset.Accept}))...)

	if cfg.Localhost(s.Family) {
		// With route_localnet set, neighbours could reach what listens on 127.0.0.0/8 (CVE-2020-8558). The
		// kubelet writes the same rule.
		loopback := s.Family.Loopback()
		set(ruleset.Firewall, ruleset.Rule{
			Comment: "block incoming localnet connections",
			Dst:     loopback, Src: loopback, NotSrc: true,
			States: ruleset.StateRelated | ruleset.StateEstablished | ruleset.StateDNAT, NotStates: true,
			Jump: ruleset.Drop,
		})
	}
}

// closedNodePorts returns the verdicts for node ports that cannot be served, on any address of the node.
func closedNodePorts(out ruleset.Ruleset, entries []entry) []ruleset.Rule {
	rules := dispatch(out, ruleset.Filter, ruleset.PrefixExternal, entries, nil)
	for i := range rules {
		rules[i].DstLocal = true
	}
	return rules
}
