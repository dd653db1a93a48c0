package convert

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// NodeFacts are what the Node object says about the own node. Facts are comparable, so == tells whether an
// update of the Node matters.
type NodeFacts struct {
	Name string
	Zone string // label topology.kubernetes.io/zone; empty: unknown
	// Primary is the family of the node's first address; Unknown: it has none.
	Primary ipproto.Family
	// IPv4 and IPv6 are the first address of each family, internal ones before external ones.
	IPv4, IPv6 netip.Addr
	// PodCIDRv4 and PodCIDRv6 are the first prefix of each family in spec.podCIDRs.
	PodCIDRv4, PodCIDRv6 netip.Prefix
	// Leaving: load balancers should send new connections elsewhere, because the object is being deleted or the
	// cluster autoscaler is about to remove the machine. That the kubelet is not ready, or that no new pods come
	// here, does not count: what runs here still serves (KEP-3836).
	Leaving bool
}

// leavingTaint is what the cluster autoscaler marks a Node with before it drains it, whatever the effect of the taint.
const leavingTaint = "ToBeDeletedByClusterAutoscaler"

// Node reads a Node. What cannot be read is skipped: it was written by the kubelet or the control plane, and
// the node is usable without.
func Node(n *corev1.Node) NodeFacts {
	if n == nil {
		return NodeFacts{}
	}
	facts := NodeFacts{Name: n.Name, Zone: n.Labels[corev1.LabelTopologyZone], Leaving: leaving(n)}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range n.Status.Addresses {
			if a.Type != kind {
				continue
			}
			if ip, err := ParseAddr(a.Address); err == nil {
				facts.addIP(ip)
			}
		}
	}
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, text := range cidrs {
		if prefix, err := ParsePrefix(text); err == nil {
			facts.addPodCIDR(prefix)
		}
	}
	return facts
}

func leaving(n *corev1.Node) bool {
	return n.DeletionTimestamp != nil ||
		slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == leavingTaint })
}

func (n *NodeFacts) addIP(ip netip.Addr) {
	f := ipproto.FamilyOf(ip)
	if n.Primary == ipproto.UnknownFamily {
		n.Primary = f
	}
	switch {
	case f == ipproto.IPv4 && !n.IPv4.IsValid():
		n.IPv4 = ip
	case f == ipproto.IPv6 && !n.IPv6.IsValid():
		n.IPv6 = ip
	}
}

func (n *NodeFacts) addPodCIDR(p netip.Prefix) {
	switch f := ipproto.FamilyOf(p.Addr()); {
	case f == ipproto.IPv4 && !n.PodCIDRv4.IsValid():
		n.PodCIDRv4 = p
	case f == ipproto.IPv6 && !n.PodCIDRv6.IsValid():
		n.PodCIDRv6 = p
	}
}

// For returns the node as one family sees it. Addrs, the addresses on its interfaces, are not in the Node
// object.
func (n NodeFacts) For(f ipproto.Family) model.Node {
	m := model.Node{Name: n.Name, Zone: n.Zone}
	switch f {
	case ipproto.IPv4:
		m.IP, m.PodCIDR = n.IPv4, n.PodCIDRv4
	case ipproto.IPv6:
		m.IP, m.PodCIDR = n.IPv6, n.PodCIDRv6
	}
	return m
}
