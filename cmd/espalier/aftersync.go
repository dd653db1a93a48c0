package main

import (
	"maps"
	"net/netip"
	"runtime/debug"
	"slices"

	"k8s.io/klog/v2"

	"espalier/proxier/health"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/syncer"
)

// aftersync is what has to follow the rules of one family once they are in the kernel: answers to the health
// checks of load balancers, and the sysctl that localhost node ports need.
type aftersync struct {
	family    ipproto.Family
	responder *health.Responder
	announce  func(error)                          // gets what the responder could not do
	checked   map[model.ServiceName]health.Service // those with a health-check node port
	failed    bool                                 // some could not be answered: try again
	localnet  bool                                 // route_localnet is set
}

// report takes a sync's report; after a failed one, everything stays as it is.
func (a *aftersync) report(done syncer.Report) {
	if done.Whole {
		// The whole plan and all that was read back are garbage now, and the next such heap may be days away.
		debug.FreeOSMemory()
	}
	if done.Err != nil {
		return
	}
	// The guard rule against neighbours is in the kernel now, so loopback may be opened.
	if done.Config.Localhost(a.family) && !a.localnet {
		if err := setRouteLocalnet(); err != nil {
			klog.ErrorS(err, "Node ports do not answer on 127.0.0.1")
		}
		a.localnet = true
	}
	if !a.note(done) {
		return
	}
	var on []netip.Addr // nil: all addresses
	if !done.Config.EveryAddress() {
		on = append([]netip.Addr{}, done.Config.NodePortAddrs(done.Node, a.family)...)
	}
	err := a.responder.Update(on, slices.Collect(maps.Values(a.checked)))
	if err != nil && !a.failed {
		klog.ErrorS(err, "Load balancers cannot ask about some Services; will try again")
	}
	a.announce(err)
	a.failed = err != nil
}

// note follows the Services that have a health-check node port, and reports whether there is anything new.
func (a *aftersync) note(done syncer.Report) bool {
	if done.Whole || a.checked == nil {
		a.checked = map[model.ServiceName]health.Service{}
	}
	news := done.Whole || a.failed
	for name, e := range done.Services {
		had, checked := a.checked[name]
		has, check := health.Of(e)
		news = news || check != checked || has != had
		if check {
			a.checked[name] = has
		} else {
			delete(a.checked, name)
		}
	}
	return news
}
