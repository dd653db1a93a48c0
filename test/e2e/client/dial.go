package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// dial connects as net.Dialer does, and also tells the own address if the connection fails.
func dial(ctx context.Context, to netip.AddrPort) (conn net.Conn, from netip.AddrPort, err error) {
	domain := unix.AF_INET
	if to.Addr().Is6() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, from, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "tcp")
	defer file.Close() // FileConn has its own copy
	err = unix.Connect(fd, sockaddr(to))
	from = own(fd) // the kernel chose the port before it sent anything
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, from, fmt.Errorf("connect %s: %w", to, err)
	}
	if err := established(ctx, file); err != nil {
		return nil, from, fmt.Errorf("connect %s: %w", to, err)
	}
	conn, err = net.FileConn(file)
	return conn, from, err
}

// established waits until the connection stands.
func established(ctx context.Context, file *os.File) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := file.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil || code != 0 {
			failed = errors.Join(err, errno(code))
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil // not connected yet: wait until it is writable
	})
	return errors.Join(err, failed)
}

func errno(code int) error {
	if code == 0 {
		return nil
	}
	return unix.Errno(code)
}

// own returns the address of a socket's own end.
func own(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// resent returns how many segments of a connection were sent again until now.
func resent(conn net.Conn) (n int) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { // closed: nobody knows
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Total_retrans)
		}
	})
	return n
}
