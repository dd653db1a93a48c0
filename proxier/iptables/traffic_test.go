package iptables_test

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sendUDP sends one datagram. It uses the thread's own system calls: package net would do it from any thread,
// which may be in another namespace.
func sendUDP(t *testing.T, src, dst netip.Addr) {
	t.Helper()
	domain, sockaddr := unix.AF_INET, func(a netip.Addr, port int) unix.Sockaddr {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	if src.Is6() {
		domain, sockaddr = unix.AF_INET6, func(a netip.Addr, port int) unix.Sockaddr {
			return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
		}
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, sockaddr(src, 0)); err != nil {
		t.Fatalf("bind to %v: %v", src, err)
	}
	if err := unix.Sendto(fd, []byte("x"), 0, sockaddr(dst, 9999)); err != nil {
		t.Fatalf("send from %v to %v: %v", src, dst, err)
	}
}

// feedErr gives commands to nft.
func feedErr(commands string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(commands)
	return cmd.Run()
}
