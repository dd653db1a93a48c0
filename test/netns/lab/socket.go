package lab

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// socket makes a socket inside the namespace of a host. A host that owns every address may use each of them as
// its own, for which the kernel has the option "transparent"; the node may use only what it was given.
func (l *Lab) socket(h Host, kind, proto int) (fd int, err error) {
	domain := unix.AF_INET
	if l.Family == ipproto.IPv6 {
		domain = unix.AF_INET6
	}
	err = l.hosts[h].Do(func() error {
		fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("make socket in %s: %w", h, err)
	}
	if l.Family == ipproto.IPv6 && kind != unix.SOCK_RAW { // so that a host of both families can listen on a port of each
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			_ = unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt", err)
		}
	}
	options := []option{{v4: unix.IP_RECVERR, v6: unix.IPV6_RECVERR}}
	if h != Node {
		options = append(options, option{v4: unix.IP_TRANSPARENT, v6: unix.IPV6_TRANSPARENT})
	}
	for _, o := range options {
		if err := l.set(fd, o); err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// option is an on/off option of IP, which has another number in each family.
type option struct{ v4, v6 int }

func (l *Lab) set(fd int, o option) error {
	level, name := unix.IPPROTO_IP, o.v4
	if l.Family == ipproto.IPv6 {
		level, name = unix.IPPROTO_IPV6, o.v6
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, name, 1))
}

// sockaddr is an address and port as the kernel takes them.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// addrPort is the inverse of sockaddr; the zero AddrPort if it is of another kind.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// unspecified is the wildcard address of the family with a port.
func (l *Lab) unspecified(port uint16) netip.AddrPort {
	if l.Family == ipproto.IPv6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), port)
}

// bound makes a socket and binds it.
func (l *Lab) bound(h Host, kind, proto int, to netip.AddrPort) (int, error) {
	fd, err := l.socket(h, kind, proto)
	if err != nil {
		return -1, err
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
		err = unix.Bind(fd, sockaddr(to))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %s in %s: %w", to, h, err)
	}
	return fd, nil
}
