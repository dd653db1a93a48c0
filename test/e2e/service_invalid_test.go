package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A pod answers with a packet that is far out of the window. Connection tracking calls it invalid and would not translate
// it back, so that the client gets it from the pod itself, knows no such connection, and resets it.
func TestAPacketOutOfTheWindowResetsNoConnection(t *testing.T) {
	t.Parallel()
	g := newGround(t, "invalid")
	server := g.client(0)
	s := g.service("web", "", bare, func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "tcp", Port: 9000, TargetPort: intstr.FromInt32(9000)}}
	})
	var listener net.Listener
	err := server.Do(func() (err error) {
		listener, err = net.Listen("tcp", ":9000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	for i, ip := range s.Spec.ClusterIPs {
		vip := netip.MustParseAddr(ip)
		g.slice(fmt.Sprintf("web-%t", vip.Is6()), "web", server.Addrs[i], map[string]int32{"tcp": 9000})
		to := netip.AddrPortFrom(vip, 9000)
		ours := dialUntil(t, g, to)
		theirs := newest(t, accepted, ours)
		for n := range 5 {
			if err := server.Go(func() error { return sendOutOfWindow(theirs) }); err != nil {
				t.Fatal(err)
			}
			// Whatever a reset would have been caused by came before this.
			if err := converse(ours, theirs, byte('0'+n)); err != nil {
				t.Fatalf("%s: after %d packets out of the window: %v", to, n+1, err)
			}
		}
		_, _ = ours.Close(), theirs.Close()
	}
}

// dialUntil connects from a pod on another node.
func dialUntil(t *testing.T, g *ground, to netip.AddrPort) (conn net.Conn) {
	t.Helper()
	g.becomes(to.String()+" accepts", func(context.Context) error {
		return g.pod(1).Go(func() (err error) {
			conn, err = net.DialTimeout("tcp", to.String(), answerTimeout)
			return err
		})
	})
	return conn
}

// newest returns the server's end of a connection.
func newest(t *testing.T, accepted <-chan net.Conn, ours net.Conn) net.Conn {
	t.Helper()
	for {
		select {
		case theirs := <-accepted:
			if theirs.RemoteAddr().String() == ours.LocalAddr().String() { // a pod is not masqueraded
				return theirs
			}
			_ = theirs.Close()
		case <-time.After(patience):
			t.Fatalf("nobody got the connection from %s", ours.LocalAddr())
		}
	}
}

// converse sends a byte each way.
func converse(ours, theirs net.Conn, b byte) error {
	for _, way := range [][2]net.Conn{{ours, theirs}, {theirs, ours}} {
		if err := way[1].SetDeadline(time.Now().Add(answerTimeout)); err != nil {
			return err
		}
		if _, err := way[0].Write([]byte{b}); err != nil {
			return err
		}
		got, err := bufio.NewReader(io.LimitReader(way[1], 1)).ReadByte()
		if err != nil || got != b {
			return fmt.Errorf("sent %q, got %q: %w", b, got, err)
		}
	}
	return nil
}

// sendOutOfWindow sends a segment of a connection's server with a sequence number that is nowhere near.
func sendOutOfWindow(conn net.Conn) error {
	from, to := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	src, dst := from.Addr().Unmap(), to.Addr().Unmap()
	segment := make([]byte, 20)
	binary.BigEndian.PutUint16(segment[0:], from.Port())
	binary.BigEndian.PutUint16(segment[2:], to.Port())
	binary.BigEndian.PutUint32(segment[4:], 0xcafebabe)
	binary.BigEndian.PutUint32(segment[8:], 0x0badf00d)
	segment[12], segment[13] = 5<<4, 0x10 // no options; ACK
	binary.BigEndian.PutUint16(segment[14:], 1024)
	binary.BigEndian.PutUint16(segment[16:], checksum(src, dst, segment))
	var domain int
	var address unix.Sockaddr
	if src.Is4() {
		domain, address = unix.AF_INET, &unix.SockaddrInet4{Addr: dst.As4()}
	} else {
		domain, address = unix.AF_INET6, &unix.SockaddrInet6{Addr: dst.As16()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("open a raw socket: %w", err)
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, segment, 0, address)
}

// checksum is that of TCP, which covers the addresses, too.
func checksum(src, dst netip.Addr, segment []byte) uint16 {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(segment)))
	pseudo = append(binary.BigEndian.AppendUint32(pseudo, unix.IPPROTO_TCP), segment...)
	var sum uint32
	for i := 0; i+1 < len(pseudo); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
