package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Alone is a node without surroundings, for measurements: no packet leaves it, so what a packet costs is mostly
// what it costs on its way through the rules. IPv4 only.
type Alone struct {
	*Namespace
	listeners []net.Listener
}

// NewAlone makes the node. It owns all addresses of pods, and client among them, from which its processes
// connect; what is sent to services has a route, so that rules can translate it.
func NewAlone(client netip.Addr, pods, services netip.Prefix) (*Alone, error) {
	ns, err := NewNamespace("alone")
	if err != nil {
		return nil, err
	}
	n := &Alone{Namespace: ns}
	if err := n.build(client, pods, services); err != nil {
		n.Close()
		return nil, fmt.Errorf("build a node alone: %w", err)
	}
	return n, nil
}

func (n *Alone) build(client netip.Addr, pods, services netip.Prefix) error {
	if err := n.Sysctl("core/somaxconn", "4096"); err != nil {
		return err
	}
	lo, err := n.SetUp("lo", netip.PrefixFrom(client, client.BitLen()))
	if err != nil {
		return err
	}
	toPods := &netlink.Route{
		Dst: IPNet(pods), LinkIndex: lo.Attrs().Index, Src: client.AsSlice(),
		Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
	}
	toServices := &netlink.Route{Dst: IPNet(services), LinkIndex: lo.Attrs().Index, Src: client.AsSlice(), Scope: netlink.SCOPE_LINK}
	for _, r := range []*netlink.Route{toPods, toServices} {
		if err := n.links.RouteAdd(r); err != nil {
			return fmt.Errorf("route to %s: %w", r.Dst, err)
		}
	}
	return nil
}

// Listen accepts connections to a port of every address, and ends them when the client does.
func (n *Alone) Listen(port uint16) error {
	var fd int
	err := n.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "tcp")
	defer file.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return err
	}
	l, err := net.FileListener(file)
	if err != nil {
		return err
	}
	n.listeners = append(n.listeners, l)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				if isClosed(err) {
					return
				}
				continue // the client was gone already
			}
			_ = conn.Close()
		}
	}()
	return nil
}

// Close ends the servers and gives up the namespace.
func (n *Alone) Close() {
	for _, l := range n.listeners {
		_ = l.Close()
	}
	n.Namespace.Close()
}
