package main

import (
	"fmt"

	"espalier/cmd/espalier/config"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
)

// dataPlane makes of what the operator wants, and of what the node is, what plan wants to know.
type dataPlane struct {
	config.Rules
}

// config returns what the rules of one family depend on beside the cluster. It changes with the node's
// addresses and pod CIDRs, so it is asked before each plan.
func (d dataPlane) config(n model.Node, f ipproto.Family, k kernelFacts) (plan.Config, error) {
	cfg := plan.Config{
		MasqueradeAll:      d.MasqueradeAll,
		MasqueradeMark:     1 << d.MasqueradeBit,
		NodePortAddresses:  d.NodePorts.Prefixes(f, n.IP),
		LocalhostNodePorts: d.LocalhostNodePorts,
		DropInvalid:        !k.liberal,
		NoExternalIPs:      d.NoExternalIPs,
		NoHairpinMatch:     k.noHairpinMatch,
		Lacks:              k.lacks,
		CountInvalid:       k.countInvalid,
		CountLocalhost:     k.countLocalhost,
	}
	cfg.Detector.Interface = d.Local.Interface
	cfg.Detector.PodCIDR = d.Local.PodCIDR(f)
	if d.Local.Mode == config.NodeCIDR {
		if !n.PodCIDR.IsValid() && f == ipproto.FamilyOf(n.IP) {
			return cfg, fmt.Errorf("node %q has no %s pod CIDR yet, which --detect-local-mode=NodeCIDR needs: is the node's spec.podCIDRs set, and is --hostname-override right?", n.Name, f)
		}
		cfg.Detector.PodCIDR = n.PodCIDR
	}
	return cfg, nil
}

// node returns the node as the rules see it: --bind-address wins over the Node object.
func (d dataPlane) node(n model.Node, f ipproto.Family) model.Node {
	if ipproto.FamilyOf(d.NodeIP) == f {
		n.IP = d.NodeIP
	}
	return n
}

// settings completes the node with what this machine knows of itself, and says how to plan for it.
func (d dataPlane) settings(n model.Node, f ipproto.Family, k kernelFacts) (model.Node, plan.Config, error) {
	n = d.node(n, f)
	cfg, err := d.config(n, f, k)
	if err == nil && !cfg.EveryAddress() {
		n.Addrs, err = interfaceAddrs(f)
	}
	return n, cfg, err
}

// kernelFacts are what the rules depend on that only the running kernel knows.
type kernelFacts struct {
	liberal        bool // nf_conntrack_tcp_be_liberal is set
	noHairpinMatch bool // xt_bpf cannot be loaded
	lacks          plan.Lacks
	// The nfacct objects of these rules exist.
	countInvalid, countLocalhost bool
}
