package plugins

import (
	"net/netip"
	"slices"
	"strings"

	"espalier/proxier/ipproto"
)

// Node is what the rules depend on. Addresses and prefixes are of both families, in any order.
type Node struct {
	Name         string
	Addrs        []netip.Addr // its own
	Peers        []netip.Addr // those of the other nodes
	PodCIDRs     []netip.Prefix
	ClusterCIDRs []netip.Prefix // of the pods of all nodes
	ServiceCIDRs []netip.Prefix
	Routers      []netip.Addr // its addresses in the pod network: the pods' gateway
	Uplink       string       // the interface to the other nodes
	Overlay      string       // the interface to pods of other nodes, if that is another one
	Bridge       string       // the bridge that pods are on, if they are
	Flat         bool         // pods of all nodes are on one link
	Pods         []Pod        // its own
	Others       []Pod        // those of other nodes
	Policies     []Policy
	Lock         string // the lock file of iptables; empty: that of the machine that all nodes are on
}

// Pod is a pod.
type Pod struct {
	Name      string // namespace/name
	Interface string // the node's end, if it is a pod of this node
	Addrs     []netip.Addr
	HostPorts []HostPort
}

// HostPort is a port of the node that leads to one of the pod, by TCP.
type HostPort struct{ Host, Container uint16 }

// Namespace is the part of the name before the slash.
func (p Pod) Namespace() string { return namespace(p.Name) }

// Policy is a NetworkPolicy: nobody but From reaches a port of To, by TCP. To are pods of any node.
type Policy struct {
	Name     string // namespace/name
	To, From []netip.Addr
	Port     uint16
}

// Namespace is the part of the name before the slash.
func (p Policy) Namespace() string { return namespace(p.Name) }

func namespace(name string) string {
	before, _, _ := strings.Cut(name, "/")
	return before
}

// view is a node as one family sees it.
type view struct {
	Node
	V6       bool
	Addr     netip.Addr
	Router   netip.Addr
	PodCIDR  netip.Prefix
	Cluster  netip.Prefix
	Services netip.Prefix
	Pods     []podView
	Others   []podView
	Policies []Policy
}

type podView struct {
	Pod
	Addr netip.Addr
	// Isolated: a policy selects it. Allowed are these policies.
	Isolated bool
	Allowed  []Policy
}

// Host is the address as a prefix.
func (p podView) Host() netip.Prefix { return netip.PrefixFrom(p.Addr, p.Addr.BitLen()) }

// At is a port of the pod.
func (p podView) At(port uint16) netip.AddrPort { return netip.AddrPortFrom(p.Addr, port) }

// Network is the one that the pod finds on its interface.
func (v view) Network(p podView) netip.Prefix {
	switch {
	case v.Flat:
		return v.Cluster
	case v.Bridge != "":
		return v.PodCIDR
	}
	return p.Host()
}

// in is the node as the family sees it. What it has not of the family is the zero value.
func (n Node) in(f ipproto.Family) view {
	v := view{Node: n, V6: f == ipproto.IPv6}
	v.Addr, _ = first(n.Addrs, f)
	v.Router, _ = first(n.Routers, f)
	v.PodCIDR, v.Cluster, v.Services = prefix(n.PodCIDRs, f), prefix(n.ClusterCIDRs, f), prefix(n.ServiceCIDRs, f)
	v.Node.Peers = all(n.Peers, f)
	for _, p := range n.Policies {
		p.To, p.From = all(p.To, f), all(p.From, f)
		v.Policies = append(v.Policies, p)
	}
	v.Pods, v.Others = v.see(n.Pods, f), v.see(n.Others, f)
	return v
}

// see returns the pods that have an address of the family, with the policies that select them.
func (v view) see(pods []Pod, f ipproto.Family) (seen []podView) {
	for _, p := range pods {
		pod := podView{Pod: p}
		var there bool
		if pod.Addr, there = first(p.Addrs, f); !there {
			continue
		}
		for _, policy := range v.Policies {
			if slices.Contains(policy.To, pod.Addr) {
				pod.Isolated, pod.Allowed = true, append(pod.Allowed, policy)
			}
		}
		seen = append(seen, pod)
	}
	return seen
}

// has reports whether the node has pods of the family.
func (n Node) has(f ipproto.Family) bool { return prefix(n.PodCIDRs, f).IsValid() }

func all(addrs []netip.Addr, f ipproto.Family) (of []netip.Addr) {
	for _, a := range addrs {
		if ipproto.FamilyOf(a) == f {
			of = append(of, a)
		}
	}
	return of
}

func first(addrs []netip.Addr, f ipproto.Family) (netip.Addr, bool) {
	if of := all(addrs, f); len(of) > 0 {
		return of[0], true
	}
	return netip.Addr{}, false
}

func prefix(prefixes []netip.Prefix, f ipproto.Family) netip.Prefix {
	for _, p := range prefixes {
		if ipproto.FamilyOf(p.Addr()) == f {
			return p
		}
	}
	return netip.Prefix{}
}
