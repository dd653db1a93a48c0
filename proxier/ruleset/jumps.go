package ruleset

import "espalier/proxier/ipproto"

// Jump is a rule in a built-in chain that leads into a chain of ours.
type Jump struct {
	From Chain  // a built-in chain
	To   string // a chain of ours in the same table
	Rule Rule   // what stands in From
}

// Jumps are the rules in built-in chains, in the order in which they are inserted, each at the top: on a clean
// node a packet meets them in the reverse order. Cleanup removes all but those to KUBE-FIREWALL, which the
// kubelet relies on.
//
// Matches and comments are those of kube-proxy (pkg/proxy/iptables/proxier.go, iptablesJumpChains), because a
// different comment would make a second jump beside the one that is there.
func Jumps() []Jump {
	jump := func(t Table, from, to, comment string, states States) Jump {
		return Jump{
			From: Chain{t, from}, To: to,
			Rule: Rule{States: states, Comment: comment, Jump: to},
		}
	}
	return []Jump{
		jump(Filter, "INPUT", ExternalServices, "kubernetes externally-visible service portals", StateNew),
		jump(Filter, "FORWARD", ExternalServices, "kubernetes externally-visible service portals", StateNew),
		jump(Filter, "INPUT", NodePorts, "kubernetes health check service ports", 0),
		jump(Filter, "FORWARD", Services, "kubernetes service portals", StateNew),
		jump(Filter, "OUTPUT", Services, "kubernetes service portals", StateNew),
		jump(Filter, "FORWARD", Forward, "kubernetes forwarding rules", 0),
		jump(Filter, "INPUT", ProxyFirewall, "kubernetes load balancer firewall", StateNew),
		jump(Filter, "OUTPUT", ProxyFirewall, "kubernetes load balancer firewall", StateNew),
		jump(Filter, "FORWARD", ProxyFirewall, "kubernetes load balancer firewall", StateNew),
		jump(Nat, "OUTPUT", Services, "kubernetes service portals", 0),
		jump(Nat, "PREROUTING", Services, "kubernetes service portals", 0),
		jump(Nat, "POSTROUTING", Postrouting, "kubernetes postrouting rules", 0),
		jump(Filter, "INPUT", Firewall, "", 0),
		jump(Filter, "OUTPUT", Firewall, "", 0),
	}
}

// IPVSJumps are the rules in built-in chains that kube-proxy's mode ipvs has and mode iptables has not (kubernetes:
// pkg/proxy/ipvs/proxier.go, iptablesJumpChain).
func IPVSJumps() []Jump {
	jump := func(from, to, comment string) Jump {
		return Jump{From: Chain{Filter, from}, To: to, Rule: Rule{Comment: comment, Jump: to}}
	}
	return []Jump{
		jump("INPUT", ipvsNodePorts, "kubernetes health check rules"),
		jump("INPUT", ProxyFirewall, "kube-proxy firewall rules"),
		jump("FORWARD", ProxyFirewall, "kube-proxy firewall rules"),
		jump("INPUT", ipvsFilter, "kubernetes ipvs access filter"),
		jump("OUTPUT", ipvsOutFilter, "kubernetes ipvs access filter"),
	}
}

// Append adds what stands after "-I CHAIN " to b. Unlike in Rule.Append the comment comes after the other matches,
// as kube-proxy has it: iptables -C and -D compare the matches one by one, in order, so with another order
// kube-proxy would neither recognise nor remove our jumps, nor we its.
func (j Jump) Append(b []byte, f ipproto.Family) []byte {
	matches, rest := j.Rule, Rule{Comment: j.Rule.Comment, Jump: j.Rule.Jump}
	matches.Comment, matches.Jump = "", ""
	if matches != (Rule{}) {
		b = append(matches.Append(b, f), ' ')
	}
	return rest.Append(b, f)
}
