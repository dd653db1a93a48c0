package plan

import (
	"net/netip"
	"slices"
	"strings"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// Config is what the operator and the kernel decide about the rules of one IP family, as opposed to what the
// cluster asks for.
type Config struct {
	// MasqueradeAll gives all traffic to cluster IPs the node's address as source.
	MasqueradeAll bool
	// MasqueradeMark is the bit of the packet mark that asks KUBE-POSTROUTING for masquerading; 0x4000 by
	// convention. Exactly one bit.
	MasqueradeMark uint32
	// Detector recognises traffic from pods of this node; the zero value: it cannot be recognised.
	Detector Detector
	// NodePortAddresses are where node ports answer: all addresses of the node within one of these prefixes.
	// A prefix of length zero is every address; an empty list closes all node ports.
	NodePortAddresses []netip.Prefix
	// LocalhostNodePorts lets node ports answer on 127.0.0.0/8 too (IPv4 only). Something else has to set
	// net.ipv4.conf.all.route_localnet; the guard against neighbours (CVE-2020-8558) is part of the plan.
	LocalhostNodePorts bool
	// DropInvalid drops forwarded packets that conntrack finds invalid (k/k#74839). Off where
	// nf_conntrack_tcp_be_liberal is set.
	DropInvalid bool
	// NoExternalIPs ignores spec.externalIPs (feature gate AllowServiceExternalIPs switched off).
	NoExternalIPs bool
	// NoHairpinMatch says that the kernel lacks xt_bpf: hairpin connections are then found by one rule for
	// each endpoint address.
	NoHairpinMatch bool
	// Lacks is what else the kernel lacks.
	Lacks Lacks
	// CountInvalid and CountLocalhost: the nfacct objects ct_state_invalid_dropped_pkts and
	// localhost_nps_accepted_pkts exist, and the kernel can count with them.
	CountInvalid, CountLocalhost bool
}

// Lacks says what a kernel cannot do, or the iptables on it. Only what needs it suffers.
type Lacks struct {
	// Recent (xt_recent): clients do not stay with an endpoint.
	Recent bool
	// Statistic (xt_statistic): a node sends all connections to a Service to one of its endpoints.
	Statistic bool
	// AddrType (xt_addrtype): node ports answer on the addresses that the node had when rules were last planned; from
	// the node itself, external addresses of Services whose external policy is Local lead to endpoints of the node
	// only; and node ports without endpoints are silent.
	AddrType bool
	// Reject (ipt_REJECT): who has no endpoints is silent.
	Reject bool
}

// The nfacct objects, by kube-proxy's names.
const (
	AcctInvalid   = "ct_state_invalid_dropped_pkts"
	AcctLocalhost = "localhost_nps_accepted_pkts"
)

// Detector says how a rule recognises traffic from pods of this node: by source prefix or by input interface.
// The zero value recognises nothing, which is different from recognising that nothing is local.
type Detector struct {
	// PodCIDR: the source address is in it.
	PodCIDR netip.Prefix
	// Interface: the packet came in through it; a trailing + stands for any suffix. Packets of the node's own
	// processes have no input interface, so they count as not local.
	Interface string
}

// Present reports whether pods can be recognised at all.
func (d Detector) Present() bool { return d.PodCIDR.IsValid() || d.Interface != "" }

// everything reports whether all sources count as local pods: the pod CIDR is the whole family. iptables has no
// match for that, nor for its opposite.
func (d Detector) everything() bool { return d.PodCIDR.IsValid() && d.PodCIDR.Bits() == 0 }

// local adds the match "from a local pod" to a rule.
func (d Detector) local(r ruleset.Rule) ruleset.Rule {
	if !d.everything() {
		r.Src, r.In = d.PodCIDR, d.Interface
	}
	return r
}

// notLocal adds the match "not from a local pod" to a rule. There is none if everything is local.
func (d Detector) notLocal(r ruleset.Rule) ruleset.Rule {
	r = d.local(r)
	r.NotSrc, r.NotIn = d.PodCIDR.IsValid(), d.Interface != ""
	return r
}

// String says what is recognised, for logs.
func (d Detector) String() string {
	switch {
	case d.PodCIDR.IsValid():
		return "source in " + d.PodCIDR.String()
	case strings.HasSuffix(d.Interface, "+"):
		return "input interface " + strings.TrimSuffix(d.Interface, "+") + "*"
	case d.Interface != "":
		return "input interface " + d.Interface
	}
	return "none"
}

// EveryAddress reports whether node ports answer on all addresses of the node, whichever these are.
func (c Config) EveryAddress() bool {
	if c.Lacks.AddrType {
		return false
	}
	for _, p := range c.NodePortAddresses {
		if p.Bits() == 0 {
			return true
		}
	}
	return false
}

// Localhost reports whether node ports answer on 127.0.0.0/8: they were asked to, the family is IPv4, and the
// node-port addresses include loopback.
func (c Config) Localhost(f ipproto.Family) bool {
	if !c.LocalhostNodePorts || f != ipproto.IPv4 {
		return false
	}
	loopback := f.Loopback()
	for _, p := range c.NodePortAddresses {
		if p.Overlaps(loopback) {
			return true
		}
	}
	return false
}

// NodePortAddrs returns those of the node's addresses that node ports answer on.
func (c Config) NodePortAddrs(n model.Node, f ipproto.Family) []netip.Addr {
	var open []netip.Addr
	for _, a := range n.Addrs {
		within := func(p netip.Prefix) bool { return p.Contains(a) }
		if (!a.IsLoopback() || c.Localhost(f)) && slices.ContainsFunc(c.NodePortAddresses, within) {
			open = append(open, a)
		}
	}
	return open
}

// mark is the masquerade bit as a match or as an argument of the MARK target.
func (c Config) mark() ruleset.Mark {
	return ruleset.Mark{Value: c.MasqueradeMark, Mask: c.MasqueradeMark}
}
