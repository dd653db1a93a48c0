package kube

import (
	"sync"

	"k8s.io/klog/v2"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher"
	"espalier/watcher/convert"
)

// node passes the own Node on, and knows whether there is one.
type node struct {
	name    string
	tracker *watcher.Tracker
	reports *reports
	logger  klog.Logger
	usable  signal // it has an address

	mu      sync.Mutex
	exists  bool
	awaited bool // the time is over in which it may be missing: the kubelet registers it at about our start
}

// set takes what the Node object says.
func (n *node) set(_ string, facts convert.NodeFacts) {
	for _, f := range ipproto.Families {
		n.tracker.SetNode(f, facts.For(f))
	}
	n.tracker.SetEligible(!facts.Leaving)
	if facts.Primary != ipproto.UnknownFamily {
		n.usable.give()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.exists = true
	n.reports.set("Node "+n.name, nil)
}

// remove notes that the object is gone. What it said stays in force: nothing about this machine changed by it. But
// load balancers have no business with it any more.
func (n *node) remove(string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.exists = false
	n.tracker.SetEligible(false)
	n.complain()
}

// missed says that everything else has been waiting for the Node for long enough.
func (n *node) missed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.awaited = true
	if n.exists {
		n.logger.Info("The Node has no address; not waiting for one any longer", "node", n.name)
		return
	}
	n.complain()
}

// complain reports that the object does not exist.
func (n *node) complain() {
	if !n.awaited {
		return
	}
	object := "Node " + n.name
	n.reports.set(object, []model.Problem{{Object: object, Text: "the API server has no such Node, so its zone, " +
		"addresses and pod ranges are not known; if the name is wrong, no endpoint counts as local: see --hostname-override"}})
}
