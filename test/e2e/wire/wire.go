package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"espalier/test/netns/lab"
)

// Mode is the kind of network plugin.
type Mode uint8

// The kinds.
const (
	Overlay  Mode = iota // VXLAN and a bridge, as Flannel does
	Routed               // a host route for each pod, as Calico does
	Flat                 // one bridge over all nodes, as Weave Net does
	Endpoint             // a host route for each pod, and VXLAN, as Cilium does
)

// String returns the kind in one word.
func (m Mode) String() string { return [...]string{"overlay", "routed", "flat", "endpoint"}[m] }

// Config says what to build.
type Config struct {
	// Control is the namespace of the control plane. It exists already, and is left when the wire is closed; only its
	// interface is taken away.
	Control *lab.Namespace
	Mode    Mode
	Nodes   int // at most 80
	// ClusterCIDRs are the ranges that the pod ranges of nodes are taken from: nothing that stays within them is
	// masqueraded.
	ClusterCIDRs []netip.Prefix
	// Backend of iptables in which the network plugin writes its rules: nft or legacy. Empty: it writes none, because
	// somebody else does.
	Backend string
}

// Host is a machine on the LAN.
type Host struct {
	*lab.Namespace
	Addrs []netip.Addr // on the LAN, IPv4 first
}

// Wire is all that has an address.
type Wire struct {
	config Config
	plugin plugin

	lan              *lab.Namespace
	control, outside *Host
	nodes            []*Node

	mu sync.Mutex // one node at a time tells the others about its pod ranges
}

// New builds LAN and hosts. Pods come later.
func New(c Config) (*Wire, error) {
	w := &Wire{config: c, plugin: plugins[c.Mode]}
	if err := w.build(); err != nil {
		w.Close()
		return nil, fmt.Errorf("build %s network with %d nodes: %w", c.Mode, c.Nodes, err)
	}
	return w, nil
}

// Nodes returns the nodes, node1 first.
func (w *Wire) Nodes() []*Node { return slices.Clone(w.nodes) }

// Control returns the host of the control plane.
func (w *Wire) Control() *Host { return w.control }

// Outside returns a host that is not part of the cluster and knows no route to pods.
func (w *Wire) Outside() *Host { return w.outside }

// Close gives up all namespaces and what is in them. No pod may be added meanwhile.
func (w *Wire) Close() {
	for _, n := range w.nodes {
		n.closePods()
		n.Namespace.Close()
	}
	w.nodes = nil
	if w.outside != nil {
		w.outside.Close()
		w.outside = nil
	}
	if w.control != nil {
		w.unplugControl()
		w.control = nil
	}
	if w.lan != nil {
		w.lan.Close()
		w.lan = nil
	}
}

func (w *Wire) build() (err error) {
	if w.lan, err = newLAN(); err != nil {
		return err
	}
	w.control = &Host{Namespace: w.config.Control}
	if err := w.join(w.control, controlNumber, false); err != nil {
		return err
	}
	outside, err := lab.NewNamespace("outside")
	if err != nil {
		return err
	}
	w.outside = &Host{Namespace: outside}
	if err := w.join(w.outside, outsideNumber, false); err != nil {
		return err
	}
	if err := w.outside.defaultRoutes(); err != nil {
		return err
	}
	for i := range w.config.Nodes {
		if err := w.addNode(i + 1); err != nil {
			return err
		}
	}
	return nil
}
