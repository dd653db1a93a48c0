package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// contribution is what one Service adds to the plan: chains of its own, and entries of the trees that all
// Services share.
type contribution struct {
	chains  ruleset.Ruleset
	entries [numTrees][]entry
}

// servicePort is what the rules of one port of a Service are made of.
type servicePort struct {
	*contribution
	cfg    Config
	family ipproto.Family
	node   model.Node
	svc    *model.Service
	port   model.ServicePort
	name   string // namespace/name:port
	hash   string // in the names of its chains
	sel    Selection
}

// contribute plans one Service, alone.
func contribute(e model.Entry, node model.Node, f ipproto.Family, cfg Config) *contribution {
	c := &contribution{chains: ruleset.Ruleset{}}
	for _, p := range e.Service.Ports {
		sp := servicePort{
			contribution: c, cfg: cfg, family: f, node: node, svc: e.Service, port: p,
			name: e.Service.PortName(p),
			sel:  Select(e.Service, p, e.Backends[p.PortKey], node),
		}
		sp.hash = ruleset.Hash(sp.name, p.Proto.String())
		sp.plan()
		if cfg.NoHairpinMatch {
			sp.hairpins()
		}
	}
	return c
}

// hairpins adds a rule for each endpoint that finds connections of the endpoint with itself.
func (sp *servicePort) hairpins() {
	for _, ep := range sp.sel.Reachable() {
		p := netip.PrefixFrom(ep.Addr.Addr(), ep.Addr.Addr().BitLen())
		sp.add(natHairpins, prefixKey(p), ruleset.Rule{Src: p, Jump: ruleset.MarkMasq})
		sp.add(filterHairpins, prefixKey(p), ruleset.Rule{Src: p, Jump: ruleset.Accept})
	}
}

// add adds a rule to a tree.
func (c *contribution) add(t treeID, k key, r ruleset.Rule) {
	c.entries[t] = append(c.entries[t], entry{key: k, rule: r})
}

func (sp *servicePort) plan() {
	cluster := sp.targets(ruleset.PrefixService, sp.sel.Cluster)
	local := sp.targets(ruleset.PrefixLocal, sp.sel.Local)

	internal := cluster
	if sp.svc.InternalLocal {
		internal = local
	}
	sp.clusterIP(internal)

	if !externallyAccessible(sp.svc, sp.port) {
		sp.healthCheck()
		return
	}
	served := sp.sel.Any && (!sp.svc.ExternalLocal || len(sp.sel.Local) > 0)
	if sp.sel.Any {
		if chain := sp.externalChain(cluster, local); chain != "" {
			sp.externalDestinations(chain)
		}
	}
	if !served {
		sp.refuseExternal()
	}
	sp.healthCheck()
}

// A target sends packets to one of a set of endpoints: a rule without conditions to be added to. Where the set
// has one endpoint that is its DNAT; else a jump to the chain that chooses.
type target struct {
	rule ruleset.Rule
	set  []model.Endpoint // empty: there is nobody to send to
}

func (t target) ok() bool { return len(t.set) > 0 }

// targets returns the target for a set of endpoints. The chain is only added when the target is used; see via.
func (sp *servicePort) targets(prefix string, set []model.Endpoint) target {
	if sp.cfg.Lacks.Statistic && len(set) > 1 {
		set = sp.one(set)
	}
	switch len(set) {
	case 0:
		return target{}
	case 1:
		return target{rule: sp.balancer().to(set[0]), set: set}
	}
	return target{rule: ruleset.Rule{Jump: prefix + sp.hash}, set: set}
}

func (sp *servicePort) balancer() balancer {
	b := balancer{out: sp.chains, port: sp.name, proto: sp.port.Proto, affinity: uint32(sp.svc.Affinity / time.Second)}
	if sp.cfg.Lacks.Recent {
		b.affinity = 0
	}
	return b
}

// via returns the target's rule with conditions and comment of r.
func (sp *servicePort) via(t target, r ruleset.Rule) ruleset.Rule {
	if len(t.set) > 1 {
		chain := ruleset.Chain{Table: ruleset.Nat, Name: t.rule.Jump}
		if _, done := sp.chains[chain]; !done {
			sp.chains[chain] = sp.balancer().chain(chain.Name, t.set)
		}
	}
	r.Jump, r.To, r.Recent = t.rule.Jump, t.rule.To, t.rule.Recent
	if t.rule.Proto != ipproto.UnknownProto {
		r.Proto = t.rule.Proto
	}
	return r
}

// one returns one of the endpoints, not the same on all nodes.
func (sp *servicePort) one(set []model.Endpoint) []model.Endpoint {
	sum := sha256.Sum256([]byte(sp.node.Name + "\x00" + sp.name + sp.port.Proto.String()))
	i := binary.BigEndian.Uint64(sum[:]) % uint64(len(set))
	return set[i : i+1]
}

// clusterIP adds the rule for the cluster IP, or the verdict where nothing can serve it.
func (sp *servicePort) clusterIP(t target) {
	if t.ok() {
		sp.entries[frontends] = append(sp.entries[frontends], entry{
			key:  sp.frontend(sp.svc.ClusterIP),
			rule: sp.via(t, ruleset.Rule{Comment: sp.name + " cluster IP"}),
			masq: true,
		})
		return
	}
	sp.add(refusedInternal, sp.frontend(sp.svc.ClusterIP), sp.verdict())
}

// verdict is the rule for a frontend that cannot be served: refused where no endpoint exists at all, dropped
// where one exists that the policy does not allow on this node.
func (sp *servicePort) verdict() ruleset.Rule {
	if sp.sel.Any {
		return ruleset.Rule{Comment: sp.name + " has no local endpoints", Jump: ruleset.Drop}
	}
	refuse := ruleset.Reject
	if sp.cfg.Lacks.Reject {
		refuse = ruleset.Drop
	}
	return ruleset.Rule{Comment: sp.name + " has no endpoints", Jump: refuse}
}

// externalChain adds the chain that every external destination of the port leads to, and returns its name; nothing if
// there is none.
func (sp *servicePort) externalChain(cluster, local target) string {
	if len(sp.externalIPs()) == 0 && len(sp.svc.VIPs) == 0 && sp.port.NodePort == 0 {
		return "" // accessible only by external IPs that the operator has switched off
	}
	chain := ruleset.Chain{Table: ruleset.Nat, Name: ruleset.PrefixExternal + sp.hash}
	var rules []ruleset.Rule
	if !sp.svc.ExternalLocal {
		rules = []ruleset.Rule{
			{Comment: "masquerade traffic for " + sp.name + " external destinations", Jump: ruleset.MarkMasq},
			sp.via(cluster, ruleset.Rule{}),
		}
	} else {
		rules = sp.shortCuts(cluster)
		if local.ok() {
			rules = append(rules, sp.via(local, ruleset.Rule{}))
		}
	}
	if len(rules) == 0 {
		return ""
	}
	sp.chains[chain] = rules
	return chain.Name
}

// shortCuts are the rules by which pods and processes of this node reach all endpoints of a Service whose
// external traffic policy is Local: they did not come through a load balancer that chose this node.
func (sp *servicePort) shortCuts(cluster target) []ruleset.Rule {
	if !cluster.ok() {
		return nil
	}
	var rules []ruleset.Rule
	if d := sp.cfg.Detector; d.Present() {
		rules = append(rules, sp.via(cluster, d.local(ruleset.Rule{Comment: "pod traffic for " + sp.name + " external destinations"})))
	}
	if sp.cfg.Lacks.AddrType {
		return rules
	}
	return append(rules,
		ruleset.Rule{
			Comment:  "masquerade LOCAL traffic for " + sp.name + " external destinations",
			SrcLocal: true, Jump: ruleset.MarkMasq,
		},
		sp.via(cluster, ruleset.Rule{Comment: "route LOCAL traffic for " + sp.name + " external destinations", SrcLocal: true}),
	)
}

// externalDestinations adds the rules that lead external IPs, VIPs and the node port to chain.
func (sp *servicePort) externalDestinations(chain string) {
	for _, ip := range sp.externalIPs() {
		sp.add(frontends, sp.frontend(ip), ruleset.Rule{Comment: sp.name + " external IP", Jump: chain})
	}
	// An address that is an external IP too is not guarded by source ranges: as in kube-proxy, the rule for the
	// external IP comes first.
	vips := slices.DeleteFunc(slices.Clone(sp.svc.VIPs), func(ip netip.Addr) bool { return slices.Contains(sp.externalIPs(), ip) })
	vip := chain
	if len(vips) > 0 && len(sp.svc.SourceRanges) > 0 {
		vip = sp.firewallChain(chain)
	}
	for _, ip := range vips {
		sp.add(frontends, sp.frontend(ip), ruleset.Rule{Comment: sp.name + " loadbalancer IP", Jump: vip})
		if vip != chain {
			sp.add(firewalled, sp.frontend(ip), ruleset.Rule{Comment: sp.name + " traffic not accepted by " + vip, Jump: ruleset.Drop})
		}
	}
	if sp.port.NodePort != 0 {
		sp.add(nodePorts, portKey(sp.port.Proto, sp.port.NodePort), ruleset.Rule{Comment: sp.name, Jump: chain})
	}
}

// firewallChain adds the chain that lets only the source ranges pass to chain, and returns its name. What it
// does not let pass returns untranslated, and KUBE-PROXY-FIREWALL drops it.
func (sp *servicePort) firewallChain(chain string) string {
	fw := ruleset.Chain{Table: ruleset.Nat, Name: ruleset.PrefixFirewall + sp.hash}
	allowed := sp.svc.SourceRanges
	// A node that may use the VIP may use it from the VIP too: some load balancers put the VIP on an interface
	// of the node, which then is the source (k/k#65387).
	nodeAllowed := func(r netip.Prefix) bool { return r.Contains(sp.node.IP) }
	if slices.ContainsFunc(allowed, nodeAllowed) {
		allowed = slices.Clone(allowed)
		for _, vip := range sp.svc.VIPs {
			allowed = append(allowed, netip.PrefixFrom(vip, vip.BitLen()))
		}
	}
	t := tree{table: fw.Table, name: func(k key) string {
		return ruleset.PrefixFirewall + ruleset.Hash("sources of ", sp.name, " ", sp.port.Proto.String(), " ", k.prefix().String())
	}}
	sources := sourceIndex(allowed, ruleset.Rule{Comment: sp.name + " loadbalancer IP", Jump: chain})
	t.all(sources.root, sp.chains)
	sp.chains[fw] = append(t.chain(sources.root),
		ruleset.Rule{Comment: "other traffic to " + sp.name + " will be dropped by " + ruleset.ProxyFirewall})
	return fw.Name
}

// sourceIndex returns the index of a rule for each of the source ranges.
func sourceIndex(ranges []netip.Prefix, r ruleset.Rule) index {
	keys := make([]key, len(ranges))
	for i, p := range ranges {
		keys[i] = prefixKey(p)
		keys[i].source = true
	}
	slices.SortFunc(keys, key.compare)
	var x index
	var last key
	for i, k := range keys {
		if i > 0 && last.covers(k) {
			continue // a range within another one adds nothing
		}
		x.add(claim{entry: entry{key: k, rule: r}})
		last = k
	}
	return x
}

// refuseExternal adds the verdicts for external destinations that cannot be served.
func (sp *servicePort) refuseExternal() {
	for _, ip := range slices.Concat(sp.externalIPs(), sp.svc.VIPs) {
		sp.add(refusedExternal, sp.frontend(ip), sp.verdict())
	}
	if sp.port.NodePort != 0 && !sp.cfg.Lacks.AddrType { // or packets through the node to such a port would be refused
		sp.add(refusedNodePorts, portKey(sp.port.Proto, sp.port.NodePort), sp.verdict())
	}
}

// healthCheck lets load balancers ask for local endpoints. It does not depend on connection state: a rule for
// new connections only would not let answers pass an INPUT chain that drops by default.
func (sp *servicePort) healthCheck() {
	if sp.svc.HealthCheckNodePort == 0 {
		return
	}
	sp.add(healthChecks, portKey(ipproto.TCP, sp.svc.HealthCheckNodePort),
		ruleset.Rule{Comment: sp.name + " health check node port", Jump: ruleset.Accept})
}

func (sp *servicePort) frontend(ip netip.Addr) key {
	return frontendKey(netip.AddrPortFrom(ip, sp.port.Port), sp.port.Proto)
}

func (sp *servicePort) externalIPs() []netip.Addr {
	if sp.cfg.NoExternalIPs {
		return nil
	}
	return sp.svc.ExternalIPs
}
