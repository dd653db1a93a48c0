package main

import (
	"fmt"
	"net/netip"

	"espalier/proxier/ipproto"
)

// nodePortAddresses is the parsed list of --nodeport-addresses.
type nodePortAddresses struct {
	primary bool
	cidrs   []netip.Prefix
}

func parseNodePortAddresses(entries []string) (nodePortAddresses, error) {
	var n nodePortAddresses
	for _, e := range entries {
		switch e {
		case "primary":
			n.primary = true
		case "localhost":
			n.cidrs = append(n.cidrs, ipproto.IPv4.Loopback(), ipproto.IPv6.Loopback())
		case "all":
			n.cidrs = append(n.cidrs, ipproto.IPv4.All(), ipproto.IPv6.All())
		default:
			p, err := netip.ParsePrefix(e)
			if err != nil {
				return n, fmt.Errorf("%q is neither a CIDR like 192.168.0.0/24 nor one of the words primary, localhost, all", e)
			}
			n.cidrs = append(n.cidrs, p.Masked())
		}
	}
	return n, nil
}

// prefixes returns the list for one family. A list without any CIDR of the family means all addresses, as in
// kube-proxy. The word primary is the exception: while the node's address is not known it opens nothing,
// where kube-proxy opens node ports on every address.
func (n nodePortAddresses) prefixes(f ipproto.Family, nodeIP netip.Addr) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range n.cidrs {
		if ipproto.FamilyOf(p.Addr()) == f {
			list = append(list, p)
		}
	}
	if n.primary && ipproto.FamilyOf(nodeIP) == f && !nodeIP.IsLoopback() {
		list = append(list, netip.PrefixFrom(nodeIP, nodeIP.BitLen()))
	}
	if len(list) == 0 && !n.primary {
		list = append(list, f.All())
	}
	return list
}
