package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// Many kernels have no SCTP sockets, while conntrack and NAT know the protocol all the same. So the lab speaks
// just enough of it over raw sockets: an INIT, and the INIT ACK that answers it and carries the Answer.
const (
	sctpInit    = 1
	sctpInitAck = 2

	sctpHeader = 12         // ports, verification tag, checksum
	sctpFixed  = 20         // an INIT or INIT ACK chunk without parameters
	sctpParam  = 0xc0fe     // a parameter type that receivers skip when they do not know it (RFC 9260, 3.2.1)
	sctpTag    = 0x65737061 // any but zero; the peer addresses us with it
)

// sctpPacket returns a packet with one INIT or INIT ACK chunk.
func sctpPacket(from, to uint16, kind byte, verification uint32, text string) []byte {
	var param []byte
	if text != "" {
		param = binary.BigEndian.AppendUint16(param, sctpParam)
		param = binary.BigEndian.AppendUint16(param, uint16(4+len(text)))
		param = append(param, text...)
	}
	length := sctpFixed + len(param)
	for len(param)%4 != 0 {
		param = append(param, 0)
	}
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint32(b, verification)
	b = append(b, 0, 0, 0, 0)
	b = append(b, kind, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = binary.BigEndian.AppendUint32(b, sctpTag)
	b = binary.BigEndian.AppendUint32(b, 65536) // receive window
	b = binary.BigEndian.AppendUint16(b, 1)     // streams out
	b = binary.BigEndian.AppendUint16(b, 1)     // streams in
	b = binary.BigEndian.AppendUint32(b, 1)     // first sequence number
	b = append(b, param...)
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(b[8:], sum)
	return b
}

// sctpMessage is what matters of a packet that came in.
type sctpMessage struct {
	fromPort, toPort uint16
	kind             byte
	text             string
}

// readSCTP reads what a raw socket received, which for IPv4 begins with the IP header.
func (l *Lab) readSCTP(b []byte) (sctpMessage, bool) {
	if l.Family == ipproto.IPv4 {
		if len(b) < 20 || len(b) < int(b[0]&15)*4 {
			return sctpMessage{}, false
		}
		b = b[int(b[0]&15)*4:]
	}
	if len(b) < sctpHeader+sctpFixed {
		return sctpMessage{}, false
	}
	m := sctpMessage{
		fromPort: binary.BigEndian.Uint16(b), toPort: binary.BigEndian.Uint16(b[2:]), kind: b[sctpHeader],
	}
	chunk := int(binary.BigEndian.Uint16(b[sctpHeader+2:]))
	if chunk > len(b)-sctpHeader {
		return sctpMessage{}, false
	}
	if chunk > sctpFixed+4 {
		m.text = string(b[sctpHeader+sctpFixed+4 : sctpHeader+chunk])
	}
	return m, true
}

// serveSCTP answers INITs on every port.
func (l *Lab) serveSCTP(h Host) error {
	fd, err := l.socket(h, unix.SOCK_RAW, unix.IPPROTO_SCTP)
	if err != nil {
		return err
	}
	if err := l.set(fd, option{v4: unix.IP_PKTINFO, v6: unix.IPV6_RECVPKTINFO}); err != nil {
		_ = unix.Close(fd)
		return err
	}
	file := os.NewFile(uintptr(fd), "sctp")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return err
	}
	l.servers = append(l.servers, file)
	go func() {
		for l.answerSCTP(h, raw) == nil {
		}
	}()
	return nil
}

// answerSCTP waits for one packet and answers it if it is an INIT. The error says that the socket was closed.
func (l *Lab) answerSCTP(h Host, socket syscall.RawConn) error {
	in, control := make([]byte, 2048), make([]byte, 256)
	var n, c int
	var from unix.Sockaddr
	var failed error
	err := socket.Read(func(fd uintptr) bool {
		n, c, _, from, failed = unix.Recvmsg(int(fd), in, control, unix.MSG_DONTWAIT)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return nil // an ICMP error about an earlier answer
	}
	m, ok := l.readSCTP(in[:n])
	if !ok || m.kind != sctpInit {
		return nil // a packet for a client
	}
	peer, at := addrPort(from).Addr(), destination(control[:c])
	answer := Answer{By: h, At: netip.AddrPortFrom(at, m.toPort), Peer: netip.AddrPortFrom(peer, m.fromPort)}
	out := sctpPacket(m.toPort, m.fromPort, sctpInitAck, sctpTag, answer.String())
	return socket.Control(func(fd uintptr) {
		_ = unix.Sendmsg(int(fd), out, source(at), sockaddr(netip.AddrPortFrom(peer, 0)), 0) // lost is lost
	})
}

// trySCTP sends an INIT and waits for the INIT ACK.
func (l *Lab) trySCTP(p Probe, deadline time.Time) (Observation, error) {
	fd, err := l.bound(p.From, unix.SOCK_RAW, unix.IPPROTO_SCTP, netip.AddrPortFrom(p.Src, 0))
	if err != nil {
		return Observation{}, err
	}
	c := &Conn{fd: fd, proto: ipproto.SCTP}
	defer c.Close()
	port := uint16(1024 + l.sctpPort.Add(1)%60000)
	out := sctpPacket(port, p.To.Port(), sctpInit, 0, "")
	err = unix.Sendto(fd, out, 0, sockaddr(netip.AddrPortFrom(p.To.Addr(), 0)))
	if err != nil && !errors.Is(err, unix.EPERM) {
		return Observation{}, fmt.Errorf("send: %w", err)
	}
	in := make([]byte, 2048)
	for {
		ready, err := poll(fd, deadline)
		if err != nil || ready == 0 {
			return Observation{}, err
		}
		if ready&unix.POLLERR != 0 {
			if o, done, err := c.failure(); done || err != nil {
				return o, err
			}
		}
		n, err := unix.Read(fd, in)
		if err != nil {
			continue
		}
		// A raw socket sees every packet of its protocol.
		if m, ok := l.readSCTP(in[:n]); ok && m.kind == sctpInitAck && m.toPort == port {
			a, err := parseAnswer(m.text)
			return Observation{Verdict: Answered, Answer: a}, err
		}
	}
}
