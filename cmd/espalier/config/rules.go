package config

import (
	"net/netip"

	"espalier/proxier/ipproto"
)

// Rules is what the operator decides about rules, for both families.
type Rules struct {
	// MasqueradeAll gives all traffic to cluster IPs the node's address as source.
	MasqueradeAll bool
	// MasqueradeBit is the bit of the packet mark, 0 to 31, that asks for masquerading.
	MasqueradeBit int
	// LocalhostNodePorts lets node ports answer on 127.0.0.0/8.
	LocalhostNodePorts bool
	NodePorts          NodePorts
	Local              Local
	// NodeIP is the node's address of its family, and makes that family the primary one, whatever the Node object
	// says. The zero value: it is as the Node object says.
	NodeIP netip.Addr
	// NoExternalIPs leaves out spec.externalIPs (feature gate AllowServiceExternalIPs).
	NoExternalIPs bool
}

// Local says how traffic of this node's pods is recognised.
type Local struct {
	Mode LocalMode
	// PodCIDRs are at most one of each family, for ClusterCIDR.
	PodCIDRs []netip.Prefix
	// Interface is a match of iptables, for the interface modes: a name, or what names begin with, and a +.
	Interface string
}

// PodCIDR returns the prefix of one family; the zero value: there is none.
func (l Local) PodCIDR(f ipproto.Family) netip.Prefix {
	for _, p := range l.PodCIDRs {
		if ipproto.FamilyOf(p.Addr()) == f {
			return p
		}
	}
	return netip.Prefix{}
}

// LocalMode is a value of --detect-local-mode.
type LocalMode string

// The modes.
const (
	ClusterCIDR         LocalMode = "ClusterCIDR"
	NodeCIDR            LocalMode = "NodeCIDR"
	BridgeInterface     LocalMode = "BridgeInterface"
	InterfaceNamePrefix LocalMode = "InterfaceNamePrefix"
)

// NodePorts says on which of the node's addresses node ports answer. The zero value: on all.
type NodePorts struct {
	// Primary is the word "primary": the node's address of each family.
	Primary bool
	// CIDRs are the others; the words "localhost" and "all" are in it as the CIDRs that they stand for.
	CIDRs []netip.Prefix
}

// Prefixes returns the list for one family. A list without any CIDR of the family means all addresses, as in
// kube-proxy. The word primary is the exception: while the node's address is not known it opens nothing, where
// kube-proxy opens node ports on every address.
func (n NodePorts) Prefixes(f ipproto.Family, nodeIP netip.Addr) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range n.CIDRs {
		if ipproto.FamilyOf(p.Addr()) == f {
			list = append(list, p)
		}
	}
	if n.Primary && ipproto.FamilyOf(nodeIP) == f && !nodeIP.IsLoopback() {
		list = append(list, netip.PrefixFrom(nodeIP, nodeIP.BitLen()))
	}
	if len(list) == 0 && !n.Primary {
		list = append(list, f.All())
	}
	return list
}
