package wire

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"espalier/test/netns/lab"
)

// overlay does as Flannel with its vxlan backend and the bridge plugin of CNI.
type overlay struct{}

const (
	podBridge = "cni0"
	vni       = 1
	vxlanPort = 8472
	// podMTU leaves room for the headers of VXLAN over IPv6.
	podMTU = 1500 - 70
)

// vxlanLink is the name of the device that carries a family.
func vxlanLink(p netip.Prefix) string { return [...]string{"flannel.1", "flannel-v6.1"}[family(p)] }

// vxlanHardware is the hardware address of that device on a node.
func vxlanHardware(n *Node, p netip.Prefix) []byte {
	return []byte{0x02, 0xf1, 0, byte(family(p)), 0, byte(n.number)}
}

// vxlanAddr is the address of that device: the first of the node's range.
func vxlanAddr(p netip.Prefix) netip.Addr { return p.Masked().Addr() }

func (overlay) prepare(n *Node, own netip.Prefix) error {
	if _, err := n.Links().LinkByName(podBridge); err != nil { // the other family has not made it
		if err := addBridge(n.Namespace, podBridge, byte(n.number)); err != nil {
			return err
		}
	}
	if _, err := n.SetUp(podBridge, within(own, nth(own, 1))); err != nil {
		return err
	}
	lan, err := n.Links().LinkByName(lanLink)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", lanLink, n.Name, err)
	}
	vxlan := &netlink.Vxlan{
		LinkAttrs:    netlink.LinkAttrs{Name: vxlanLink(own), HardwareAddr: vxlanHardware(n, own), MTU: podMTU},
		VxlanId:      vni,
		VtepDevIndex: lan.Attrs().Index,
		SrcAddr:      n.lanAddr(own).AsSlice(),
		Port:         vxlanPort,
		Learning:     false,
	}
	if err := n.Links().LinkAdd(vxlan); err != nil {
		return fmt.Errorf("make %s of %s: %w", vxlan.Name, n.Name, err)
	}
	if _, err := n.SetUp(vxlan.Name, single(vxlanAddr(own))); err != nil {
		return err
	}
	for _, other := range n.wire.nodes { // those that had their range before
		for _, theirs := range other.PodCIDRs() {
			if other != n && family(theirs) == family(own) {
				if err := (overlay{}).send(n, other, theirs); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (o overlay) learn(n, other *Node, theirs netip.Prefix) error {
	if _, err := n.Links().LinkByName(vxlanLink(theirs)); err != nil {
		return nil // prepare does it when the node has a range itself
	}
	return o.send(n, other, theirs)
}

// send leads a range into the tunnel: the route names the far device as the neighbour, a permanent neighbour entry its
// hardware address, and the forwarding database the node where it is.
func (overlay) send(n, other *Node, theirs netip.Prefix) error {
	link, err := n.Links().LinkByName(vxlanLink(theirs))
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", vxlanLink(theirs), n.Name, err)
	}
	hardware := vxlanHardware(other, theirs)
	neighbour := &netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: [...]int{unix.AF_INET, unix.AF_INET6}[family(theirs)],
		State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST, IP: vxlanAddr(theirs).AsSlice(), HardwareAddr: hardware,
	}
	forward := &netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, Flags: unix.NTF_SELF,
		State: unix.NUD_PERMANENT, IP: other.lanAddr(theirs).AsSlice(), HardwareAddr: hardware,
	}
	for _, entry := range []*netlink.Neigh{neighbour, forward} {
		if err := n.Links().NeighSet(entry); err != nil {
			return fmt.Errorf("tell %s how to reach %s: %w", n.Name, other.Name, err)
		}
	}
	return n.route(theirs, vxlanAddr(theirs), vxlanLink(theirs))
}

// forget takes away what leads to the range; on the node whose range it was, with the devices.
func (overlay) forget(n *Node, old netip.Prefix) {
	for _, name := range []string{podBridge, vxlanLink(old)} {
		link, err := n.Links().LinkByName(name)
		if err != nil {
			continue
		}
		if hasAddr(n.Namespace, link, old) {
			_ = n.Links().LinkDel(link) // nothing uses it
			continue
		}
		_ = n.Links().RouteDel(&netlink.Route{Dst: lab.IPNet(old), LinkIndex: link.Attrs().Index}) // not there: fine
	}
}

// hasAddr reports whether an interface has an address of a range.
func hasAddr(ns *lab.Namespace, link netlink.Link, p netip.Prefix) bool {
	list, err := ns.Links().AddrList(link, [...]int{unix.AF_INET, unix.AF_INET6}[family(p)])
	if err != nil {
		return false
	}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && p.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

func (overlay) attach(n *Node, p *Pod) error {
	var own []netip.Prefix
	for i, cidr := range n.PodCIDRs() {
		own = append(own, within(cidr, p.Addrs[i]))
	}
	return n.plugIn(p, podBridge, own)
}

// plugIn connects a pod with a bridge of the node, whose address is the first of each of the node's ranges.
func (n *Node) plugIn(p *Pod, bridge string, own []netip.Prefix) error {
	if err := n.Cable(p.link, p.linkNumber, p.Namespace, podLink); err != nil {
		return err
	}
	for _, end := range []struct {
		ns   *lab.Namespace
		name string
	}{{n.Namespace, p.link}, {p.Namespace, podLink}} {
		link, err := end.ns.Links().LinkByName(end.name)
		if err != nil {
			return fmt.Errorf("find %s of %s: %w", end.name, end.ns.Name, err)
		}
		if err := end.ns.Links().LinkSetMTU(link, podMTU); err != nil {
			return fmt.Errorf("set MTU of %s of %s: %w", end.name, end.ns.Name, err)
		}
	}
	if _, err := p.SetUp(podLink, own...); err != nil {
		return err
	}
	if err := enslave(n.Namespace, p.link, bridge, true); err != nil {
		return err
	}
	for _, cidr := range n.PodCIDRs() {
		if err := route(p.Namespace, everything[family(cidr)], nth(cidr, 1), podLink); err != nil {
			return err
		}
	}
	return awaitUp(n.Namespace, bridge)
}
