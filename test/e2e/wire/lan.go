package wire

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"espalier/test/netns/lab"
)

// The addresses of the LAN (RFC 2544 reserves the first range for benchmarks of networks).
var lanRanges = []netip.Prefix{netip.MustParsePrefix("198.18.0.0/24"), netip.MustParsePrefix("fd00:198:18::/64")}

// Which address of the LAN is whose. Nodes follow firstNode.
const (
	routerNumber  = 1
	controlNumber = 2
	firstNode     = 11
	outsideNumber = 100
)

// lanAddrs returns the addresses with a number, IPv4 first.
func lanAddrs(number int) (addrs []netip.Addr) {
	for _, p := range lanRanges {
		addrs = append(addrs, nth(p, number))
	}
	return addrs
}

// nth returns the address of a range that a number leads to from its first.
func nth(p netip.Prefix, number int) netip.Addr {
	bytes := p.Masked().Addr().As16()
	sum := int(bytes[14])<<8 + int(bytes[15]) + number
	bytes[14], bytes[15] = byte(sum>>8), byte(sum)
	return netip.AddrFrom16(bytes).Unmap()
}

// within returns an address of p as that of an interface in p.
func within(p netip.Prefix, a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, p.Bits()) }

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

const lanBridge = "lan"

// newLAN makes the namespace of the switch, which has the router's addresses, too.
func newLAN() (*lab.Namespace, error) {
	ns, err := lab.NewNamespace("lan")
	if err != nil {
		return nil, err
	}
	if err := furnishLAN(ns); err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}

func furnishLAN(ns *lab.Namespace) error {
	if err := ns.Prepare(false); err != nil {
		return err
	}
	if err := addBridge(ns, lanBridge, 0); err != nil {
		return err
	}
	router := lanAddrs(routerNumber)
	_, err := ns.SetUp(lanBridge, within(lanRanges[0], router[0]), within(lanRanges[1], router[1]))
	return err
}

// addBridge makes a bridge that forwards everything at once. Its hardware address is fixed: the kernel would take that of
// a port, and neighbours would lose it when ports come and go.
func addBridge(ns *lab.Namespace, name string, number byte) error {
	snooping := false
	bridge := &netlink.Bridge{
		LinkAttrs:         netlink.LinkAttrs{Name: name, HardwareAddr: []byte{0x02, 0xb1, 0, 0, 0, number}},
		MulticastSnooping: &snooping, // it would take some seconds to learn who wants neighbour solicitations
	}
	if err := ns.Links().LinkAdd(bridge); err != nil {
		return fmt.Errorf("make bridge %s of %s: %w", name, ns.Name, err)
	}
	return nil
}

const lanLink = "eth0"

// join connects a host to the LAN and gives it the addresses with a number.
func (w *Wire) join(h *Host, number int, router bool) error {
	if err := h.Prepare(router); err != nil {
		return err
	}
	port := fmt.Sprintf("port%d", number)
	if err := w.lan.Cable(port, 1000+number, h.Namespace, lanLink); err != nil {
		return err
	}
	if err := enslave(w.lan, port, lanBridge, false); err != nil {
		return err
	}
	h.Addrs = lanAddrs(number)
	if _, err := h.SetUp(lanLink, within(lanRanges[0], h.Addrs[0]), within(lanRanges[1], h.Addrs[1])); err != nil {
		return err
	}
	return errors.Join(awaitUp(w.lan, port), awaitUp(h.Namespace, lanLink))
}

// enslave makes an interface a port of a bridge. With hairpin, it may send back what came from it.
func enslave(ns *lab.Namespace, port, bridge string, hairpin bool) error {
	master, err := ns.Links().LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s of %s: %w", bridge, ns.Name, err)
	}
	link, err := ns.SetUp(port)
	if err != nil {
		return err
	}
	if err := ns.Links().LinkSetMaster(link, master); err != nil {
		return fmt.Errorf("connect %s with bridge %s of %s: %w", port, bridge, ns.Name, err)
	}
	if !hairpin {
		return nil
	}
	if err := ns.Links().LinkSetHairpin(link, true); err != nil {
		return fmt.Errorf("let %s of bridge %s of %s send back: %w", port, bridge, ns.Name, err)
	}
	return nil
}

// defaultRoutes lead to the router, where nobody knows any address. But without them, a host itself would refuse a cluster
// IP before any rule can translate it.
func (h *Host) defaultRoutes() error {
	for i, p := range lanRanges {
		via := nth(p, routerNumber)
		if err := h.route(everything[i], via, lanLink); err != nil {
			return err
		}
	}
	return nil
}

var everything = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// route leads a range to a neighbour; the zero Addr: to the link itself.
func (h *Host) route(to netip.Prefix, via netip.Addr, name string) error {
	return route(h.Namespace, to, via, name)
}

func route(ns *lab.Namespace, to netip.Prefix, via netip.Addr, name string) error {
	link, err := ns.Links().LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", name, ns.Name, err)
	}
	r := &netlink.Route{Dst: lab.IPNet(to), LinkIndex: link.Attrs().Index}
	switch {
	case via.IsValid():
		// The neighbour need not be in a range of the link.
		r.Gw, r.Flags = via.AsSlice(), int(netlink.FLAG_ONLINK)
	case to.Addr().Is4():
		r.Scope = netlink.SCOPE_LINK
	}
	if err := ns.Links().RouteAdd(r); err != nil {
		return fmt.Errorf("route %s over %s of %s: %w", to, name, ns.Name, err)
	}
	return nil
}

// unplugControl takes the interface of the LAN from the control plane's namespace, which stays.
func (w *Wire) unplugControl() {
	if link, err := w.control.Links().LinkByName(lanLink); err == nil {
		_ = w.control.Links().LinkDel(link) // it goes with the LAN's namespace otherwise
	}
}
