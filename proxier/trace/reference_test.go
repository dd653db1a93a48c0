package trace

import (
	"net/netip"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

const mark = 0x4000

var (
	masqMark = ruleset.Mark{Value: mark, Mask: mark}
	toMasq   = ruleset.Rule{Jump: ruleset.MarkMasq}
)

func filter(name string) ruleset.Chain { return ruleset.Chain{Table: ruleset.Filter, Name: name} }
func nat(name string) ruleset.Chain    { return ruleset.Chain{Table: ruleset.Nat, Name: name} }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// cidr reads a prefix, or an address as the prefix that holds only that.
func cidr(s string) netip.Prefix {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.MustParsePrefix(s)
}

// to is the start of a rule: -d dst -p tcp --dport port.
func to(dst string, port uint16) ruleset.Rule {
	return ruleset.Rule{Dst: cidr(dst), Proto: ipproto.TCP, DstPorts: ruleset.Port(port)}
}

// with returns the rule with a jump.
func with(r ruleset.Rule, jump string) ruleset.Rule {
	r.Jump = jump
	return r
}

// base are the rules that are there without any Service.
func base() ruleset.Ruleset {
	return ruleset.Ruleset{
		filter(ruleset.Forward): {
			{States: ruleset.StateInvalid, Jump: ruleset.Drop},
			{Comment: "kubernetes forwarding rules", Mark: masqMark, Jump: ruleset.Accept},
			{States: ruleset.StateRelated | ruleset.StateEstablished, Jump: ruleset.Accept},
		},
		filter(ruleset.Firewall): {{
			Comment: "block incoming localnet connections", Dst: cidr("127.0.0.0/8"), Src: cidr("127.0.0.0/8"), NotSrc: true,
			States: ruleset.StateRelated | ruleset.StateEstablished | ruleset.StateDNAT, NotStates: true, Jump: ruleset.Drop,
		}},
		nat(ruleset.Postrouting): {
			{Mark: masqMark, NotMark: true, Jump: ruleset.Return},
			{SetMark: ruleset.Mark{Value: mark}, Jump: ruleset.MarkTarget},
			{Comment: "kubernetes service traffic requiring SNAT", Jump: ruleset.Masquerade},
		},
		nat(ruleset.MarkMasq):            {{SetMark: masqMark, Jump: ruleset.MarkTarget}},
		nat(ruleset.Services):            {{DstLocal: true, Jump: ruleset.NodePorts}},
		nat(ruleset.NodePorts):           nil,
		filter(ruleset.Services):         nil,
		filter(ruleset.NodePorts):        nil,
		filter(ruleset.ProxyFirewall):    nil,
		filter(ruleset.ExternalServices): nil,
	}
}

// endpoint adds the chain of one endpoint as kube-proxy writes it, and returns its name.
func endpoint(rs ruleset.Ruleset, hash, ep string) string {
	name := ruleset.PrefixEndpoint + hash
	dst := netip.MustParseAddrPort(ep)
	rs[nat(name)] = []ruleset.Rule{
		{Src: netip.PrefixFrom(dst.Addr(), dst.Addr().BitLen()), Jump: ruleset.MarkMasq},
		{Proto: ipproto.TCP, Jump: ruleset.DNAT, To: dst},
	}
	return name
}

// reference is four Services as kube-proxy's iptables mode writes them: svc1 with one endpoint, svc2 with
// externalTrafficPolicy Local and no endpoint on this node, svc4 with two endpoints, svc6 with none.
func reference() ruleset.Ruleset {
	rs := base()
	pods := ruleset.Rule{Src: cidr("10.0.0.0/8")}
	notPods := ruleset.Rule{Src: cidr("10.0.0.0/8"), NotSrc: true, Jump: ruleset.MarkMasq}
	nodePort := ruleset.Rule{DstLocal: true, Proto: ipproto.TCP, DstPorts: ruleset.Port(3001)}

	rs[nat("KUBE-SVC-1")] = []ruleset.Rule{notPods, {Jump: endpoint(rs, "1", "10.180.0.1:80")}}
	rs[nat("KUBE-SVC-2")] = []ruleset.Rule{notPods, {Jump: endpoint(rs, "2", "10.180.0.2:80")}}
	rs[nat("KUBE-EXT-2")] = []ruleset.Rule{
		with(pods, "KUBE-SVC-2"),
		{SrcLocal: true, Jump: ruleset.MarkMasq},
		{SrcLocal: true, Jump: "KUBE-SVC-2"},
	}
	rs[nat("KUBE-SVC-4")] = []ruleset.Rule{
		notPods,
		{Share: ruleset.OneIn(2), Jump: endpoint(rs, "4", "10.180.0.4:80")},
		{Jump: endpoint(rs, "5", "10.180.0.5:80")},
	}
	rs[nat(ruleset.Services)] = []ruleset.Rule{
		with(to("172.30.0.41", 80), "KUBE-SVC-1"),
		with(to("172.30.0.42", 80), "KUBE-SVC-2"),
		with(to("192.168.99.22", 80), "KUBE-EXT-2"),
		with(to("1.2.3.4", 80), "KUBE-EXT-2"),
		with(to("172.30.0.44", 80), "KUBE-SVC-4"),
		{DstLocal: true, Jump: ruleset.NodePorts},
	}
	rs[nat(ruleset.NodePorts)] = []ruleset.Rule{with(ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Port(3001)}, "KUBE-EXT-2")}
	rs[filter(ruleset.Services)] = []ruleset.Rule{with(to("172.30.0.46", 80), ruleset.Reject)}
	rs[filter(ruleset.ExternalServices)] = []ruleset.Rule{
		with(to("192.168.99.22", 80), ruleset.Drop),
		with(to("1.2.3.4", 80), ruleset.Drop),
		with(nodePort, ruleset.Drop),
	}
	rs[filter(ruleset.NodePorts)] = []ruleset.Rule{{Proto: ipproto.TCP, DstPorts: ruleset.Port(30000), Jump: ruleset.Accept}}
	return rs
}
