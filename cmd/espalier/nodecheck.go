package main

import (
	"context"
	"sync"

	"k8s.io/klog/v2"

	"espalier/cmd/espalier/config"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/model"
	"espalier/watcher/convert"
)

// nodeCheck compares the configuration with the node, once: when the API server has said what the node is, or, with
// manifests, as soon as every family that is served knows the node. If there is no sense in going on, nothing is written
// from then on, and the process ends.
type nodeCheck struct {
	cfg    config.Config
	served []ipproto.Family

	mu    sync.Mutex
	nodes map[ipproto.Family]model.Node
	err   error
	done  bool
	bad   chan struct{} // closed once err is set
}

func newNodeCheck(cfg config.Config, kernels []*iptables.Kernel) *nodeCheck {
	c := &nodeCheck{cfg: cfg, nodes: map[ipproto.Family]model.Node{}, bad: make(chan struct{})}
	for _, k := range kernels {
		c.served = append(c.served, k.Family)
	}
	return c
}

// see takes the node as one family sees it, and returns an error if nothing should be written for it.
func (c *nodeCheck) see(f ipproto.Family, n model.Node) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes[f] = n; !c.done && len(c.nodes) == len(c.served) {
		c.check(c.facts())
	}
	return c.err
}

// ready takes what the Node object says, before any family learns of it.
func (c *nodeCheck) ready(facts convert.NodeFacts) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	klog.InfoS("The node", "primaryFamily", c.cfg.Primary(facts), "ipv4", facts.IPv4, "ipv6", facts.IPv6, "zone", facts.Zone)
	c.check(facts)
	return c.err
}

func (c *nodeCheck) check(facts convert.NodeFacts) {
	c.done = true
	warnings, err := c.cfg.Plausible(facts, c.served)
	for _, w := range warnings {
		klog.ErrorS(nil, "The configuration may be incomplete or wrong", "problem", w)
	}
	if err != nil {
		c.err = err
		close(c.bad)
	}
}

// facts puts the node together again. Of a node with addresses of both families it is not known which is the first; a
// family that is served is taken then.
func (c *nodeCheck) facts() convert.NodeFacts {
	v4, v6 := c.nodes[ipproto.IPv4], c.nodes[ipproto.IPv6]
	facts := convert.NodeFacts{IPv4: v4.IP, IPv6: v6.IP, PodCIDRv4: v4.PodCIDR, PodCIDRv6: v6.PodCIDR}
	for _, f := range c.served {
		if n := c.nodes[f]; n.Name != "" {
			facts.Name = n.Name
		}
		if facts.Primary == ipproto.UnknownFamily && c.nodes[f].IP.IsValid() {
			facts.Primary = f
		}
	}
	return facts
}

// wait returns the error as soon as there is one, or nil when ctx ends.
func (c *nodeCheck) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.bad:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	}
}
