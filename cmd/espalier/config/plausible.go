package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"espalier/proxier/ipproto"
	"espalier/watcher/convert"
)

// Primary returns the family that the node is of, above all: that of --bind-address, else that of the first address of
// the Node object, else IPv4.
func (c Config) Primary(node convert.NodeFacts) ipproto.Family {
	switch {
	case c.Rules.NodeIP.IsValid():
		return ipproto.FamilyOf(c.Rules.NodeIP)
	case node.Primary != ipproto.UnknownFamily:
		return node.Primary
	}
	return ipproto.IPv4
}

// Plausible compares the configuration with the node and with the families that this machine can be programmed for. It
// returns what an operator should know, and an error if it makes no sense to go on.
func (c Config) Plausible(node convert.NodeFacts, served []ipproto.Family) (warnings []string, err error) {
	primary := c.Primary(node)
	if !slices.Contains(served, primary) {
		return nil, fmt.Errorf("this node is %s, but iptables cannot be used for that family here; if the node is not %[1]s, say so with --bind-address", primary)
	}
	k := check{Config: c, node: node, primary: primary, single: len(served) == 1}
	warnings = append(warnings, k.nodePorts()...)
	cidrs, errCIDRs := k.podCIDRs()
	warnings = append(warnings, cidrs...)
	warnings = append(warnings, k.addresses()...)
	return warnings, errCIDRs
}

// check is one look at a configuration and a node.
type check struct {
	Config
	node    convert.NodeFacts
	primary ipproto.Family
	single  bool // only the primary family can be served
}

func (k check) nodePorts() []string {
	n := k.Rules.NodePorts
	if !n.Primary && len(n.CIDRs) == 0 {
		return []string{"nodePortAddresses (--nodeport-addresses) is not set: node ports answer on all addresses of this node; consider --nodeport-addresses=primary"}
	}
	if n.Primary { // opens nothing where there is nothing
		return nil
	}
	has := func(f ipproto.Family) bool {
		return slices.ContainsFunc(n.CIDRs, func(p netip.Prefix) bool { return ipproto.FamilyOf(p.Addr()) == f })
	}
	open := func(f ipproto.Family, why string) []string {
		return []string{fmt.Sprintf("nodePortAddresses (--nodeport-addresses) has no %s address, but %s: node ports answer on all %[1]s addresses of this node", f, why)}
	}
	switch other := other(k.primary); {
	case !has(k.primary):
		return open(k.primary, "the node is of that family")
	case !has(other) && k.dualStack():
		return open(other, "the cluster looks dual-stack")
	}
	return nil
}

// dualStack reports whether the configuration or the node speaks of both families.
func (k check) dualStack() bool {
	return len(k.Rules.Local.PodCIDRs) == 2 || k.node.PodCIDRv4.IsValid() && k.node.PodCIDRv6.IsValid()
}

// podCIDRs is about what traffic of local pods is recognised by. Pods of the wrong family only are a mistake.
func (k check) podCIDRs() (warnings []string, err error) {
	note := func(fatal bool, text string) {
		if fatal {
			err = errors.New(text)
			return
		}
		warnings = append(warnings, text)
	}
	other := other(k.primary)
	local := k.Rules.Local
	if local.PodCIDR(other).IsValid() && !local.PodCIDR(k.primary).IsValid() {
		note(k.single, fmt.Sprintf("clusterCIDR (--cluster-cidr) %s is %s, but this node is %s", local.PodCIDR(other), other, k.primary))
	} else if local.Mode == ClusterCIDR && len(local.PodCIDRs) == 0 {
		note(false, "clusterCIDR (--cluster-cidr) is not set: traffic of pods is not recognised, and traffic from outside to cluster IPs is not masqueraded")
	}
	if k.podCIDR(other).IsValid() && !k.podCIDR(k.primary).IsValid() {
		note(local.Mode == NodeCIDR, fmt.Sprintf("spec.podCIDRs of node %q is %s, but this node is %s", k.node.Name, other, k.primary))
	}
	return warnings, err
}

func (k check) podCIDR(f ipproto.Family) netip.Prefix { return k.node.For(f).PodCIDR }

// addresses is about where health and metrics are served, on a node that has only one family.
func (k check) addresses() []string {
	var warnings []string
	for _, s := range []struct {
		field string
		at    netip.AddrPort
	}{
		{"healthzBindAddress (--healthz-bind-address)", k.Serve.Healthz},
		{"metricsBindAddress (--metrics-bind-address)", k.Serve.Metrics},
	} {
		if ip := s.at.Addr(); k.single && ip.IsValid() && !ip.IsUnspecified() && ipproto.FamilyOf(ip) != k.primary {
			warnings = append(warnings, fmt.Sprintf("%s %s is not %s, which is all that this node has", s.field, s.at, k.primary))
		}
	}
	return warnings
}

func other(f ipproto.Family) ipproto.Family {
	if f == ipproto.IPv4 {
		return ipproto.IPv6
	}
	return ipproto.IPv4
}
