package main

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/proxier/status"
)

// counts reads what the rules of Services have counted.
type counts struct {
	mu      sync.Mutex // also so that not several read at a time
	kernels map[ipproto.Family]*iptables.Kernel
}

// scrapePatience is how long the rules may take to be read. Prometheus gives up a scrape after ten seconds.
const scrapePatience = 10 * time.Second

// add says how to reach the rules of a family.
func (c *counts) add(k *iptables.Kernel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kernels == nil {
		c.kernels = map[ipproto.Family]*iptables.Kernel{}
	}
	c.kernels[k.Family] = k
}

// of returns the counts of a family by frontend; a Service has several external IPs, say, which are one. Frontends that
// nobody has used are left out: in a large cluster they are most, and each is two series.
func (c *counts) of(f ipproto.Family) map[plan.Frontend]status.Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	kernel := c.kernels[f]
	if kernel == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	counted, err := kernel.Counters(ctx, ruleset.Nat)
	if err != nil {
		klog.V(2).InfoS("What Services have counted is not shown", "family", f, "because", err)
		return nil
	}
	sums := map[plan.Frontend]status.Count{}
	for _, rule := range counted {
		if to, ok := plan.FrontendOf(rule.Comment); ok && rule.Packets > 0 {
			n := sums[to]
			sums[to] = status.Count{Packets: n.Packets + rule.Packets, Bytes: n.Bytes + rule.Bytes}
		}
	}
	return sums
}
