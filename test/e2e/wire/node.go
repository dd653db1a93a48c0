package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"espalier/test/netns/lab"
)

// Node is a host that has pods.
type Node struct {
	Host

	wire   *Wire
	number int     // node1 is 1
	jumps  [2]bool // for each family, whether the network plugin's jumps stand in the built-in chains

	mu    sync.Mutex
	cidrs []netip.Prefix // IPv4 first; nil: not known yet
	pods  map[*Pod]bool
	last  int // the number of the last pod address that was given
	links int // pods that there have ever been
}

// plugin is what a network plugin does on a node, once for each pod range.
type plugin interface {
	// prepare makes what all pods of the range share.
	prepare(n *Node, own netip.Prefix) error
	// learn leads another node's range there.
	learn(n, other *Node, theirs netip.Prefix) error
	// forget is the inverse of both for a range that is no longer a node's. What is not there is forgotten.
	forget(n *Node, old netip.Prefix)
	// attach connects a pod, which has its addresses already.
	attach(n *Node, p *Pod) error
}

var plugins = map[Mode]plugin{Overlay: overlay{}, Routed: routed{}, Flat: flat{}, Endpoint: endpoint{}}

// nodeName returns "node1" for 1.
func nodeName(number int) string { return fmt.Sprintf("node%d", number) }

func (w *Wire) addNode(number int) error {
	ns, err := lab.NewNamespace(nodeName(number))
	if err != nil {
		return err
	}
	n := &Node{Host: Host{Namespace: ns}, wire: w, number: number, pods: map[*Pod]bool{}}
	w.nodes = append(w.nodes, n)
	if err := w.join(&n.Host, firstNode+number-1, true); err != nil {
		return err
	}
	// A bridge hands packets to iptables, as on every node of a cluster, or answers of pods on the same node would not be
	// translated back.
	for _, path := range []string{"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"} {
		if err := n.Sysctl(path, "1"); err != nil {
			return err
		}
	}
	return n.defaultRoutes()
}

// SetPodCIDRs tells the network plugin which addresses the pods of the node have, and tells all other nodes. Telling it
// again changes nothing. When others are told than before, there must be no pods.
func (n *Node) SetPodCIDRs(cidrs []netip.Prefix) error {
	cidrs = slices.SortedFunc(slices.Values(cidrs), func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	n.wire.mu.Lock()
	defer n.wire.mu.Unlock()
	n.mu.Lock()
	old, pods := n.cidrs, len(n.pods)
	n.mu.Unlock()
	if slices.Equal(old, cidrs) {
		return nil
	}
	if pods > 0 {
		return fmt.Errorf("give %s the pod ranges %v: %d pods have addresses of %v: delete them first", n.Name, cidrs, pods, old)
	}
	for _, p := range old {
		for _, other := range n.wire.nodes {
			n.wire.plugin.forget(other, p)
		}
	}
	for _, p := range cidrs {
		if err := n.adopt(p); err != nil {
			return fmt.Errorf("give %s the pod range %s: %w", n.Name, p, err)
		}
	}
	n.mu.Lock()
	n.cidrs, n.last = cidrs, firstPod-1
	n.mu.Unlock()
	return n.masquerade(cidrs)
}

// adopt makes a range the node's, and lets both sides learn of each other.
func (n *Node) adopt(own netip.Prefix) error {
	plugin := n.wire.plugin
	if err := plugin.prepare(n, own); err != nil {
		return err
	}
	for _, other := range n.wire.nodes {
		if other == n {
			continue
		}
		if err := plugin.learn(other, n, own); err != nil {
			return err
		}
	}
	return nil
}

// PodCIDRs returns the ranges that the node was given, IPv4 first.
func (n *Node) PodCIDRs() []netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.cidrs)
}

// lanAddr is the node's address of the same family as the range.
func (n *Node) lanAddr(p netip.Prefix) netip.Addr { return n.Addrs[family(p)] }

// family returns 0 for IPv4 and 1 for IPv6, which is their place in lists.
func family(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}
