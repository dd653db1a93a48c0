package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"espalier/test/demo/shop"
)

// A pod is one replica of an app. Its phases are those that an EndpointSlice can tell apart.
type pod struct {
	*machine
	ready       bool // the server listens
	terminating bool // it was deleted, but still serves
}

// A cluster is the control plane of the demo: it runs the pods of the apps on the site's node and writes
// down what espalier would learn from an API server.
type cluster struct {
	site  *site
	apps  []*app
	dir   string // where the manifests are
	ports int    // pods attached to the node so far
}

// startPod adds a pod to the app and returns it when it is ready and published.
func (c *cluster) startPod(ctx context.Context, a *app) (*pod, error) {
	c.ports++
	a.born++
	name := fmt.Sprintf("%s-%d", a.name, a.born)
	cmd := again("pod")
	cmd.Env = a.environment(c.apps, name)
	m, err := startMachine(name, podAddr(c.ports), cmd)
	if err != nil {
		return nil, err
	}
	p := &pod{machine: m}
	a.pods = append(a.pods, p)
	if err := c.site.attach(m, fmt.Sprintf("veth%d", c.ports)); err != nil {
		return nil, err
	}
	if err := c.publish(a); err != nil {
		return nil, err
	}
	if err := p.powerOn(ctx); err != nil {
		return nil, err
	}
	p.ready = true
	return p, c.publish(a)
}

// podAddr returns the n-th pod address; the first is the node's.
func podAddr(n int) netip.Addr {
	addr := gateway.Addr()
	for range n {
		addr = addr.Next()
	}
	return addr
}

// deletePod takes a pod away as kubectl delete does: it is published as terminating, a replacement is
// started, and when the preStop hook is over the pod gets SIGTERM, ends what it is doing, and is gone.
// It returns the replacement.
func (c *cluster) deletePod(ctx context.Context, a *app, p *pod) (*pod, error) {
	p.terminating = true
	if err := c.publish(a); err != nil {
		return nil, err
	}
	hook := time.After(a.preStop())
	replacement, err := c.startPod(ctx, a)
	if err != nil {
		return nil, err
	}
	select {
	case <-hook:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := p.proc.terminate(2 * shop.CallTimeout); err != nil {
		return nil, err
	}
	p.powerOff()
	a.pods = slices.DeleteFunc(a.pods, func(o *pod) bool { return o == p })
	return replacement, c.publish(a)
}

// close ends all pods at once.
func (c *cluster) close() {
	for _, a := range c.apps {
		for _, p := range a.pods {
			p.powerOff()
		}
		a.pods = nil
	}
}
