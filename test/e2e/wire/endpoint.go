package wire

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// endpoint does as Cilium with a tunnel and routes for each endpoint, without BPF: pods are connected as with routed, and
// other nodes' ranges are led into one VXLAN device, whose address is the first of the node's range.
type endpoint struct{}

const ciliumHost = "cilium_host"

// ciliumHardware is the hardware address of that device on a node.
func ciliumHardware(n *Node) []byte { return []byte{0x02, 0xc1, 0, 0, 0, byte(n.number)} }

func (endpoint) prepare(n *Node, own netip.Prefix) error {
	if _, err := n.Links().LinkByName(ciliumHost); err != nil { // the other family has not made it
		lan, err := n.Links().LinkByName(lanLink)
		if err != nil {
			return fmt.Errorf("find %s of %s: %w", lanLink, n.Name, err)
		}
		vxlan := &netlink.Vxlan{
			LinkAttrs: netlink.LinkAttrs{Name: ciliumHost, HardwareAddr: ciliumHardware(n), MTU: podMTU}, VxlanId: vni, Port: vxlanPort,
			VtepDevIndex: lan.Attrs().Index, SrcAddr: n.Addrs[0].AsSlice(),
		}
		if err := n.Links().LinkAdd(vxlan); err != nil {
			return fmt.Errorf("make %s of %s: %w", ciliumHost, n.Name, err)
		}
	}
	if _, err := n.SetUp(ciliumHost, single(nth(own, 1))); err != nil {
		return err
	}
	for _, other := range n.wire.nodes { // those that had their range before
		for _, theirs := range other.PodCIDRs() {
			if other != n && family(theirs) == family(own) {
				if err := (endpoint{}).send(n, other, theirs); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (e endpoint) learn(n, other *Node, theirs netip.Prefix) error {
	if _, err := n.Links().LinkByName(ciliumHost); err != nil {
		return nil // prepare does it when the node has a range itself
	}
	return e.send(n, other, theirs)
}

// send leads a range into the tunnel.
func (endpoint) send(n, other *Node, theirs netip.Prefix) error {
	link, err := n.Links().LinkByName(ciliumHost)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", ciliumHost, n.Name, err)
	}
	neighbour := &netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: [...]int{unix.AF_INET, unix.AF_INET6}[family(theirs)],
		State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST, IP: nth(theirs, 1).AsSlice(), HardwareAddr: ciliumHardware(other),
	}
	forward := &netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, Flags: unix.NTF_SELF,
		State: unix.NUD_PERMANENT, IP: other.Addrs[0].AsSlice(), HardwareAddr: ciliumHardware(other),
	}
	for _, entry := range []*netlink.Neigh{neighbour, forward} {
		if err := n.Links().NeighSet(entry); err != nil {
			return fmt.Errorf("tell %s how to reach %s: %w", n.Name, other.Name, err)
		}
	}
	return n.route(theirs, nth(theirs, 1), ciliumHost)
}

func (endpoint) forget(n *Node, old netip.Prefix) {
	if link, err := n.Links().LinkByName(ciliumHost); err == nil && hasAddr(n.Namespace, link, old) {
		_ = n.Links().LinkDel(link) // nothing uses it
		return
	}
	routed{}.forget(n, old)
}

func (endpoint) attach(n *Node, p *Pod) error { return routed{}.attach(n, p) }
