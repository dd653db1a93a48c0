package wire

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"espalier/test/netns/lab"
)

// routed does as Calico without encapsulation.
type routed struct{}

// The node's end of every pod's link has the same hardware address, and so the same link-local address, which is the pods'
// IPv6 gateway. That of IPv4 is on no interface: the node answers for it because it has a default route (proxy ARP).
var (
	caliHardware = []byte{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}
	gateways     = []netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fe80::ecee:eeff:feee:eeee")}
)

// prepare keeps what is for pods that are gone from leaving the node.
func (routed) prepare(n *Node, own netip.Prefix) error {
	if err := n.Links().RouteAdd(&netlink.Route{Dst: lab.IPNet(own), Type: unix.RTN_BLACKHOLE}); err != nil {
		return fmt.Errorf("route %s of %s to nowhere: %w", own, n.Name, err)
	}
	return nil
}

func (routed) learn(n, other *Node, theirs netip.Prefix) error {
	return n.route(theirs, other.lanAddr(theirs), lanLink)
}

func (routed) forget(n *Node, old netip.Prefix) {
	// Both kinds of route have nothing in common but the range; what is not there is forgotten already.
	_ = n.Links().RouteDel(&netlink.Route{Dst: lab.IPNet(old), Type: unix.RTN_BLACKHOLE})
	_ = n.Links().RouteDel(&netlink.Route{Dst: lab.IPNet(old)})
}

func (routed) attach(n *Node, p *Pod) error {
	if err := n.Cable(p.link, p.linkNumber, p.Namespace, podLink); err != nil {
		return err
	}
	link, err := n.Links().LinkByName(p.link)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", p.link, n.Name, err)
	}
	if err := n.Links().LinkSetHardwareAddr(link, caliHardware); err != nil {
		return fmt.Errorf("set hardware address of %s of %s: %w", p.link, n.Name, err)
	}
	for path, value := range map[string]string{
		"ipv4/conf/" + p.link + "/proxy_arp":    "1",
		"ipv4/neigh/" + p.link + "/proxy_delay": "0",
	} {
		if err := n.Sysctl(path, value); err != nil {
			return err
		}
	}
	if _, err := n.SetUp(p.link); err != nil {
		return err
	}
	var own []netip.Prefix
	for _, a := range p.Addrs {
		own = append(own, single(a))
	}
	if _, err := p.SetUp(podLink, own...); err != nil {
		return err
	}
	for i, gateway := range gateways[:len(p.Addrs)] {
		if gateway.Is4() {
			if err := route(p.Namespace, single(gateway), netip.Addr{}, podLink); err != nil {
				return err
			}
		}
		if err := route(p.Namespace, everything[i], gateway, podLink); err != nil {
			return err
		}
		if err := n.route(own[i], netip.Addr{}, p.link); err != nil {
			return err
		}
	}
	return nil
}
