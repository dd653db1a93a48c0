package lab

import (
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// serve starts the servers of a host on all ports.
func (l *Lab) serve(h Host) error {
	for _, port := range l.Ports {
		if err := l.serveTCP(h, port); err != nil {
			return err
		}
		if err := l.serveUDP(h, port); err != nil {
			return err
		}
	}
	return l.serveSCTP(h)
}

// serveTCP answers at once when a connection is made, and again for every byte that comes in.
func (l *Lab) serveTCP(h Host, port uint16) error {
	fd, err := l.bound(h, unix.SOCK_STREAM, 0, l.unspecified(port))
	if err != nil {
		return err
	}
	if err := unix.Listen(fd, 1024); err != nil {
		_ = unix.Close(fd)
		return os.NewSyscallError("listen", err)
	}
	file := os.NewFile(uintptr(fd), "tcp")
	defer file.Close() // FileListener has its own copy
	listener, err := net.FileListener(file)
	if err != nil {
		return err
	}
	l.servers = append(l.servers, listener)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answerTCP(h, conn)
		}
	}()
	return nil
}

func answerTCP(h Host, conn net.Conn) {
	defer conn.Close()
	answer := Answer{By: h, At: tcpAddr(conn.LocalAddr()), Peer: tcpAddr(conn.RemoteAddr())}
	line, in := []byte(answer.String()+"\n"), make([]byte, 1)
	for {
		if _, err := conn.Write(line); err != nil {
			return
		}
		if _, err := conn.Read(in); err != nil {
			return
		}
	}
}

func tcpAddr(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// serveUDP answers every datagram from the address that it was sent to.
func (l *Lab) serveUDP(h Host, port uint16) error {
	fd, err := l.bound(h, unix.SOCK_DGRAM, 0, l.unspecified(port))
	if err != nil {
		return err
	}
	if err := l.set(fd, option{v4: unix.IP_PKTINFO, v6: unix.IPV6_RECVPKTINFO}); err != nil {
		_ = unix.Close(fd)
		return err
	}
	file := os.NewFile(uintptr(fd), "udp")
	defer file.Close()
	packets, err := net.FilePacketConn(file)
	if err != nil {
		return err
	}
	conn := packets.(*net.UDPConn)
	l.servers = append(l.servers, conn)
	go func() {
		in, control := make([]byte, 2048), make([]byte, 256)
		for {
			_, n, _, from, err := conn.ReadMsgUDPAddrPort(in, control)
			if err != nil {
				if isClosed(err) {
					return
				}
				continue // an ICMP error about an earlier answer
			}
			to := destination(control[:n])
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			answer := Answer{By: h, At: netip.AddrPortFrom(to, port), Peer: from}
			_, _, _ = conn.WriteMsgUDPAddrPort([]byte(answer.String()+"\n"), source(to), from) // lost is lost
		}
	}()
	return nil
}

// destination finds, in the control messages of a packet, where it was sent to.
func destination(control []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 12:
			return netip.AddrFrom4([4]byte(m.Data[8:12])) // after interface and local address
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			return netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	return netip.Addr{}
}

// source is the control message that sends a packet from an address.
func source(a netip.Addr) []byte {
	if ipproto.FamilyOf(a) == ipproto.IPv4 {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: a.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16()})
}
