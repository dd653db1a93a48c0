package lab

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// Host names a namespace of the lab.
type Host string

// The hosts. The links of the node are called after the host at their other end.
const (
	Node      Host = "node"
	Pod       Host = "pod"   // runs client pods of this node
	Ext       Host = "ext"   // a client outside of the cluster
	Blk       Host = "blk"   // another one, whom source ranges do not cover
	Endpoints Host = "eps"   // has the addresses of all endpoints, of this and of other nodes
	World     Host = "world" // behind the default route
)

// Config says which addresses belong where.
type Config struct {
	Family ipproto.Family
	// Node are the node's own addresses, besides loopback and those of its links.
	Node []netip.Addr
	// Routes say which addresses are behind which host. World has all others.
	Routes map[Host][]netip.Prefix
	// Ports are those on which node, eps and world answer, by TCP and by UDP. What arrives at another port of eps
	// or world meets silence, so every port belongs in here to which a rule, right or wrong, could lead.
	Ports []uint16
}

// Lab is a node with its surroundings.
type Lab struct {
	Config

	hosts   map[Host]*Namespace
	servers []interface{ Close() error }

	sctpPort atomic.Uint32 // the last source port, less a constant
}

// New builds the lab. Close must be called also after an error of later steps.
func New(c Config) (*Lab, error) {
	l := &Lab{Config: c, hosts: map[Host]*Namespace{}}
	if err := l.build(); err != nil {
		l.Close()
		return nil, fmt.Errorf("build %s lab: %w", c.Family, err)
	}
	return l, nil
}

// Host returns the namespace of a host.
func (l *Lab) Host(h Host) *Namespace { return l.hosts[h] }

// Close ends all servers and gives up all namespaces.
func (l *Lab) Close() {
	for _, s := range l.servers {
		_ = s.Close() // nobody listens any more
	}
	l.servers = nil
	for _, ns := range l.hosts {
		ns.Close()
	}
	clear(l.hosts)
}

func (l *Lab) build() error {
	for _, h := range append([]Host{Node}, neighbours...) {
		ns, err := NewNamespace(string(h))
		if err != nil {
			return err
		}
		l.hosts[h] = ns
		if err := prepare(ns, h == Node); err != nil {
			return err
		}
	}
	if err := l.ownAddresses(); err != nil {
		return err
	}
	for i, h := range neighbours {
		if err := l.connect(h, i+1); err != nil {
			return fmt.Errorf("connect %s to the node: %w", h, err)
		}
	}
	for _, h := range []Host{Node, Endpoints, World} {
		if err := l.serve(h); err != nil {
			return fmt.Errorf("start servers of %s: %w", h, err)
		}
	}
	return nil
}

// neighbours are the hosts at the other end of the node's links; the place in the list numbers the link.
var neighbours = []Host{Pod, Ext, Blk, Endpoints, World}

// prepare sets what must be set before the first interface appears.
func prepare(ns *Namespace, router bool) error {
	settings := map[string]string{
		"ipv6/conf/all/disable_ipv6":     "0",
		"ipv6/conf/default/disable_ipv6": "0",
		"ipv6/conf/default/accept_dad":   "0", // or the first seconds of every address are lost
		"ipv4/conf/all/rp_filter":        "0",
		"ipv4/conf/default/rp_filter":    "0",
	}
	if router {
		maps.Copy(settings, map[string]string{
			"ipv4/ip_forward":                  "1",
			"ipv6/conf/all/forwarding":         "1",
			"ipv4/conf/all/send_redirects":     "0",
			"ipv4/conf/default/send_redirects": "0",
			// Every REJECT must be heard: limits for each destination and for all together count only messages whose
			// type is in the mask. 255 is a type that nobody sends.
			"ipv4/icmp_ratemask":  "0",
			"ipv6/icmp/ratemask":  "255",
			"ipv6/icmp/ratelimit": "0",
		})
	}
	for _, path := range slices.Sorted(maps.Keys(settings)) {
		if err := ns.Sysctl(path, settings[path]); err != nil {
			return err
		}
	}
	lo, err := ns.links.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo of %s: %w", ns.Name, err)
	}
	if err := ns.links.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo of %s up: %w", ns.Name, err)
	}
	if router {
		return nil
	}
	// Without a loopback address of its own, a host can try to reach that of the node.
	if err := ns.links.AddrDel(lo, address(netip.MustParsePrefix("127.0.0.1/8"))); err != nil {
		return fmt.Errorf("take 127.0.0.1 from %s: %w", ns.Name, err)
	}
	return nil
}

// ownAddresses gives the node its addresses. They stand on lo, so that a masqueraded source, which is always the
// address of a link, is never one of them.
func (l *Lab) ownAddresses() error {
	for _, a := range l.Config.Node {
		if err := l.AddNodeAddress(a); err != nil {
			return err
		}
	}
	return nil
}

// AddNodeAddress gives the node one more address.
func (l *Lab) AddNodeAddress(a netip.Addr) error {
	ns := l.hosts[Node]
	lo, err := ns.links.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo of node: %w", err)
	}
	if err := ns.links.AddrAdd(lo, address(netip.PrefixFrom(a, a.BitLen()))); err != nil {
		return fmt.Errorf("add %s to node: %w", a, err)
	}
	return nil
}

// NodeAddresses returns all addresses of the family that the node has, sorted.
func (l *Lab) NodeAddresses() ([]netip.Addr, error) {
	family := unix.AF_INET
	if l.Family == ipproto.IPv6 {
		family = unix.AF_INET6
	}
	list, err := l.hosts[Node].links.AddrList(nil, family)
	if err != nil {
		return nil, fmt.Errorf("list addresses of node: %w", err)
	}
	var addrs []netip.Addr
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && !ip.Unmap().IsLinkLocalUnicast() {
			addrs = append(addrs, ip.Unmap())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs, nil
}

// linkAddress is the address of an end of the n-th link.
func (l *Lab) linkAddress(n, end byte) netip.Prefix {
	if l.Family == ipproto.IPv4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, n, end}), 24)
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x64, 3: n, 15: end}), 64)
}

// connect makes the n-th link of the node and the routes over it.
func (l *Lab) connect(h Host, n int) error {
	node, far := l.hosts[Node], l.hosts[h]
	var farThread int
	if err := far.Do(func() error { farThread = unix.Gettid(); return nil }); err != nil {
		return err
	}
	veth := &netlink.Veth{
		// The numbers of both ends must differ, or the kernel does not see that they are a pair, and IPv6 learns
		// up to a second late that the link is up (linkwatch_urgent_event in net/core/link_watch.c).
		LinkAttrs:     netlink.LinkAttrs{Name: string(h), Index: 10 + n},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsPid(farThread),
	}
	if err := node.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("make link: %w", err)
	}
	near, away := l.linkAddress(byte(n), 1), l.linkAddress(byte(n), 2)
	nearLink, err := setUp(node, string(h), near)
	if err != nil {
		return err
	}
	awayLink, err := setUp(far, "eth0", away)
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
		Dst: ipNet(l.Family.All()), LinkIndex: lo.Attrs().Index, Table: everythingTable,
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

func setUp(ns *Namespace, name string, p netip.Prefix) (netlink.Link, error) {
	link, err := ns.links.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s of %s: %w", name, ns.Name, err)
	}
	if err := ns.links.AddrAdd(link, address(p)); err != nil {
		return nil, fmt.Errorf("add %s to %s of %s: %w", p, name, ns.Name, err)
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
	return &netlink.Route{Dst: ipNet(to), Gw: via.AsSlice(), LinkIndex: link.Attrs().Index}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// FlushConntrack makes the node forget all connections, of both families.
func (l *Lab) FlushConntrack() error {
	err := l.hosts[Node].Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	if err != nil {
		return fmt.Errorf("flush conntrack of node: %w", err)
	}
	return nil
}
