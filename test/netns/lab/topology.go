package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

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
	joined   bool          // the hosts are those of another lab
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
	if l.joined {
		return
	}
	for _, ns := range l.hosts {
		ns.Close()
	}
	clear(l.hosts)
}

// Join gives the hosts another family beside theirs, and returns a lab that speaks it. Close that one first.
func (l *Lab) Join(c Config) (*Lab, error) {
	j := &Lab{Config: c, hosts: l.hosts, joined: true}
	if err := j.furnish(); err != nil {
		j.Close()
		return nil, fmt.Errorf("add %s to the %s lab: %w", c.Family, l.Family, err)
	}
	return j, nil
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
	for i, h := range neighbours {
		if err := l.link(h, i+1); err != nil {
			return fmt.Errorf("link %s to the node: %w", h, err)
		}
	}
	return l.furnish()
}

// furnish adds what a family needs: addresses, routes and servers.
func (l *Lab) furnish() error {
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

// prepare makes a host of the lab out of an empty namespace.
func prepare(ns *Namespace, router bool) error {
	if err := ns.Prepare(router); err != nil {
		return err
	}
	if router {
		return nil
	}
	lo, err := ns.links.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo of %s: %w", ns.Name, err)
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
	return ns.awaitLocal(a)
}

// awaitLocal waits until packets to an address of the namespace stay there. For IPv6 the kernel makes the route in the
// background (addrconf_dad_work in net/ipv6/addrconf.c), and sends them elsewhere until then.
func (ns *Namespace) awaitLocal(a netip.Addr) error {
	const patience = 10 * time.Second
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(time.Millisecond) {
		routes, err := ns.links.RouteGet(a.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
	}
	return fmt.Errorf("wait for the route to %s, an address of %s: there is none after %v", a, ns.Name, patience)
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

// FlushConntrack makes the node forget all connections, of both families.
func (l *Lab) FlushConntrack() error {
	err := l.hosts[Node].Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	if err != nil {
		return fmt.Errorf("flush conntrack of node: %w", err)
	}
	return nil
}
