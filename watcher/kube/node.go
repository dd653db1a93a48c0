package kube

import (
	"fmt"
	"net/netip"
	"sync"

	"k8s.io/klog/v2"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher"
	"espalier/watcher/convert"
)

// node passes the own Node on, knows whether there is one, and whether it is still the one that everything was set
// up for.
type node struct {
	name string
	// needRanges: rules depend on spec.podCIDRs.
	needRanges bool
	tracker    *watcher.Tracker
	reports    *reports
	logger     klog.Logger
	usable     signal     // it has an address
	ranged     signal     // it has pod ranges
	ended      chan error // gets the reason why it is another node now; room for one

	mu      sync.Mutex
	exists  bool
	awaited bool // the time is over in which it may be missing
	facts   convert.NodeFacts
	settled bool // facts are what everything was set up for
}

// set takes what the Node object says.
func (n *node) set(_ string, facts convert.NodeFacts) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.settled {
		if err := n.changed(facts); err != nil {
			n.end(err)
			return // rules of the old node are better than those of a node that is half the new one
		}
	}
	n.facts, n.exists = facts, true
	for _, f := range ipproto.Families {
		n.tracker.SetNode(f, facts.For(f))
	}
	n.tracker.SetEligible(!facts.Leaving)
	if facts.Primary != ipproto.UnknownFamily {
		n.usable.give()
	}
	if facts.PodCIDRv4.IsValid() || facts.PodCIDRv6.IsValid() {
		n.ranged.give()
	}
	n.reports.set("Node "+n.name, nil)
}

// remove notes that the object is gone. Until the process ends for it, what it said stays in force: nothing about
// this machine changed by it. But load balancers have no business with it any more.
func (n *node) remove(string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.exists = false
	n.tracker.SetEligible(false)
	if n.settled {
		n.end(fmt.Errorf("the Node %q was deleted", n.name))
		return
	}
	n.complain()
}

// settle says that what is known of the Node now is what everything is set up for, and returns it.
func (n *node) settle() convert.NodeFacts {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settled = true
	return n.facts
}

// changed returns why the Node is another one than that which everything was set up for; nil: it is the same. Its
// zone may change, since rules follow that.
func (n *node) changed(now convert.NodeFacts) error {
	if was, is := addresses(n.facts), addresses(now); was != is {
		return fmt.Errorf("the addresses of Node %q changed from %s to %s", n.name, was, is)
	}
	if was, is := ranges(n.facts), ranges(now); n.needRanges && was != is {
		return fmt.Errorf("the pod ranges (spec.podCIDRs) of Node %q changed from %s to %s", n.name, was, is)
	}
	return nil
}

// end says that the process has to begin anew.
func (n *node) end(err error) {
	select {
	case n.ended <- err:
	default: // the first reason counts
	}
}

// addressless says that the time is over in which the Node may have no address or be missing.
func (n *node) addressless() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.awaited = true
	if n.exists {
		n.logger.Error(nil, "The Node has no address; going on without", "node", n.name, "after", addressGrace)
		return
	}
	n.logger.Error(nil, "The Node does not exist; going on without", "node", n.name, "after", addressGrace)
	n.complain()
}

// rangeless explains errNoRanges.
func (n *node) rangeless() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	const need = "recognise local pods by the pod ranges of the Node %q (--detect-local-mode=NodeCIDR): "
	if !n.exists {
		return fmt.Errorf(need+"the API server has had no such Node for %v; is --hostname-override right?", n.name, addressGrace+rangeGrace)
	}
	return fmt.Errorf(need+"none were allocated in %v (spec.podCIDRs is empty); does the controller manager run with --allocate-node-cidrs?", n.name, rangeGrace)
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

// addresses shows the addresses that the node is known by, the one of the primary family first.
func addresses(n convert.NodeFacts) string {
	if n.Primary == ipproto.IPv6 {
		return list(n.IPv6, n.IPv4)
	}
	return list(n.IPv4, n.IPv6)
}

func ranges(n convert.NodeFacts) string { return list(n.PodCIDRv4, n.PodCIDRv6) }

// list shows what is known of two values.
func list[T interface {
	netip.Addr | netip.Prefix
	fmt.Stringer
	IsValid() bool
}](a, b T) string {
	switch {
	case a.IsValid() && b.IsValid():
		return a.String() + ", " + b.String()
	case a.IsValid():
		return a.String()
	case b.IsValid():
		return b.String()
	}
	return "none"
}
