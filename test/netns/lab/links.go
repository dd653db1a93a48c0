package lab

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// linkAddress is the address of an end of the n-th link.
func (l *Lab) linkAddress(n, end byte) netip.Prefix {
	if l.Family == ipproto.IPv4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, n, end}), 24)
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x64, 3: n, 15: end}), 64)
}

// link makes the n-th link of the node.
func (l *Lab) link(h Host, n int) error {
	node, far := l.hosts[Node], l.hosts[h]
	return node.Cable(string(h), 10+n, far, "eth0")
}

// connect gives the n-th link of the node its addresses, and makes the routes over it.
func (l *Lab) connect(h Host, n int) error {
	node, far := l.hosts[Node], l.hosts[h]
	near, away := l.linkAddress(byte(n), 1), l.linkAddress(byte(n), 2)
	nearLink, err := node.SetUp(string(h), near)
	if err != nil {
		return err
	}
	awayLink, err := far.SetUp("eth0", away)
	if err != nil {
		return err
	}
	routes := l.Routes[h]
	if h == World {
		routes = append(slices.Clone(routes), l.Family.All())
	}
	for _, p := range routes {
		if err := node.links.RouteAdd(route(p, away.Addr(), nearLink)); err != nil {
			return fmt.Errorf("route %s to %s: %w", p, h, err)
		}
	}
	if err := far.links.RouteAdd(route(l.Family.All(), near.Addr(), awayLink)); err != nil {
		return fmt.Errorf("route from %s to node: %w", h, err)
	}
	return l.ownEverything(far)
}

// everythingTable holds one route: whatever comes in is for us.
const everythingTable = 100

// ownEverything makes each address local for packets that come in, and only for these: what goes out is routed
// over the node even when it returns to the same host.
func (l *Lab) ownEverything(ns *Namespace) error {
	lo, err := ns.links.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	local := &netlink.Route{
		Dst: IPNet(l.Family.All()), LinkIndex: lo.Attrs().Index, Table: everythingTable,
		Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
	}
	if err := ns.links.RouteAdd(local); err != nil {
		return fmt.Errorf("make everything local to %s: %w", ns.Name, err)
	}
	rule := netlink.NewRule()
	rule.IifName, rule.Table, rule.Priority = "eth0", everythingTable, 10
	rule.Family = unix.AF_INET
	if l.Family == ipproto.IPv6 {
		rule.Family = unix.AF_INET6
	}
	if err := ns.links.RuleAdd(rule); err != nil {
		return fmt.Errorf("make what comes in local to %s: %w", ns.Name, err)
	}
	return nil
}

// Cable connects two namespaces by a pair of interfaces. The number of the near one must differ from that of the other,
// which is the next free one there, or the kernel does not see that they are a pair, and IPv6 learns up to a second late
// that the link is up (linkwatch_urgent_event in net/core/link_watch.c).
func (ns *Namespace) Cable(name string, number int, far *Namespace, farName string) error {
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: name, Index: number},
		PeerName:      farName,
		PeerNamespace: netlink.NsFd(far.fd),
	}
	if err := ns.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("connect %s of %s with %s of %s: %w", name, ns.Name, farName, far.Name, err)
	}
	return nil
}

// SetUp gives an interface addresses and takes it up.
func (ns *Namespace) SetUp(name string, addrs ...netip.Prefix) (netlink.Link, error) {
	link, err := ns.links.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s of %s: %w", name, ns.Name, err)
	}
	for _, p := range addrs {
		if err := ns.links.AddrAdd(link, address(p)); err != nil {
			return nil, fmt.Errorf("add %s to %s of %s: %w", p, name, ns.Name, err)
		}
	}
	if err := ns.links.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set %s of %s up: %w", name, ns.Name, err)
	}
	return link, nil
}

func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func route(to netip.Prefix, via netip.Addr, link netlink.Link) *netlink.Route {
	return &netlink.Route{Dst: IPNet(to), Gw: via.AsSlice(), LinkIndex: link.Attrs().Index}
}

// IPNet is a prefix as netlink takes it.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
