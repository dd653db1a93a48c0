package main

import (
	"net/netip"

	"k8s.io/klog/v2"

	"espalier/proxier/health"
	"espalier/proxier/ipproto"
	"espalier/proxier/syncer"
)

// aftersync is what has to follow the rules of one family once they are in the kernel: answers to the health
// checks of load balancers, and the sysctl that localhost node ports need.
type aftersync struct {
	family    ipproto.Family
	data      *dataPlane
	responder *health.Responder
	localnet  bool // route_localnet is set
}

// report takes a sync's report; after a failed one, everything stays as it is.
func (a *aftersync) report(done syncer.Report) {
	if done.Err != nil {
		return
	}
	node := a.data.node(done.Snapshot.Node, a.family)
	cfg, err := a.data.config(node, a.family, kernelFacts{})
	if err != nil {
		return // the sync would have failed with it
	}
	// The guard rule against neighbours is in the kernel now, so loopback may be opened.
	if cfg.Localhost(a.family) && !a.localnet {
		if err := setRouteLocalnet(); err != nil {
			klog.ErrorS(err, "Node ports do not answer on 127.0.0.1")
		}
		a.localnet = true
	}
	var on []netip.Addr // nil: all addresses
	if !cfg.EveryAddress() {
		if node.Addrs, err = interfaceAddrs(a.family); err != nil {
			klog.ErrorS(err, "Cannot answer health checks on other addresses than before")
			return
		}
		on = append([]netip.Addr{}, cfg.NodePortAddrs(node, a.family)...)
	}
	if err := a.responder.Update(on, health.Services(done.Snapshot)); err != nil {
		klog.ErrorS(err, "Load balancers cannot ask about some Services")
	}
}
