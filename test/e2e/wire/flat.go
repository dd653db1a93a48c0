package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flat does as Weave Net: the bridges of all nodes are one network, in which every pod finds every other as a neighbour.
type flat struct{}

const (
	weaveBridge = "weave"
	weavePort   = "vethwe-bridge" // the port of the bridge that leads to the other nodes
)

// cluster returns the range of all pods that a node's range was taken from.
func (n *Node) cluster(own netip.Prefix) netip.Prefix {
	for _, p := range n.wire.config.ClusterCIDRs {
		if p.Contains(own.Addr()) {
			return p
		}
	}
	return own
}

func (flat) prepare(n *Node, own netip.Prefix) error {
	if _, err := n.Links().LinkByName(weaveBridge); err != nil { // the other family has not made it
		if err := (flat{}).bridge(n); err != nil {
			return err
		}
	}
	_, err := n.SetUp(weaveBridge, within(n.cluster(own), nth(own, 1)))
	return err
}

// bridge makes the bridge and its port to the other nodes, which finds out by flooding where pods are.
func (flat) bridge(n *Node) error {
	if err := addBridge(n.Namespace, weaveBridge, byte(n.number)); err != nil {
		return err
	}
	vxlan := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: weavePort, MTU: podMTU}, VxlanId: vni, Port: vxlanPort, Learning: true,
		SrcAddr: n.Addrs[0].AsSlice(),
	}
	if err := n.Links().LinkAdd(vxlan); err != nil {
		return fmt.Errorf("make %s of %s: %w", weavePort, n.Name, err)
	}
	if err := enslave(n.Namespace, weavePort, weaveBridge, false); err != nil {
		return err
	}
	for _, other := range n.wire.nodes {
		if _, err := other.Links().LinkByName(weavePort); other == n || err != nil {
			continue
		}
		if err := errors.Join(n.flood(other), other.flood(n)); err != nil {
			return err
		}
	}
	return nil
}

// flood sends to another node what it does not know the place of.
func (n *Node) flood(other *Node) error {
	link, err := n.Links().LinkByName(weavePort)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", weavePort, n.Name, err)
	}
	entry := &netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, Flags: unix.NTF_SELF, State: unix.NUD_PERMANENT,
		IP: other.Addrs[0].AsSlice(), HardwareAddr: net.HardwareAddr{0, 0, 0, 0, 0, 0},
	}
	if err := n.Links().NeighAppend(entry); err != nil {
		return fmt.Errorf("tell %s that %s is there: %w", n.Name, other.Name, err)
	}
	return nil
}

func (flat) learn(*Node, *Node, netip.Prefix) error { return nil } // who is asked for answers

func (flat) forget(n *Node, old netip.Prefix) {
	link, err := n.Links().LinkByName(weaveBridge)
	if err != nil {
		return
	}
	// Not there: fine.
	_ = n.Links().AddrDel(link, &netlink.Addr{IPNet: &net.IPNet{IP: nth(old, 1).AsSlice(), Mask: net.CIDRMask(n.cluster(old).Bits(), old.Addr().BitLen())}})
}

func (flat) attach(n *Node, p *Pod) error {
	var own []netip.Prefix
	for i, cidr := range n.PodCIDRs() {
		own = append(own, within(n.cluster(cidr), p.Addrs[i]))
	}
	return n.plugIn(p, weaveBridge, own)
}
