package lab

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// SendGarbage sends a TCP packet that no connection tracking makes sense of: its checksum is wrong.
func (l *Lab) SendGarbage(p Probe) error {
	fd, err := l.bound(p.From, unix.SOCK_RAW, unix.IPPROTO_TCP, netip.AddrPortFrom(p.Src, 0))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	packet := make([]byte, 20)
	binary.BigEndian.PutUint16(packet, 1024)
	binary.BigEndian.PutUint16(packet[2:], p.To.Port())
	packet[12], packet[13] = 5<<4, 2 // 20 bytes of header, SYN
	binary.BigEndian.PutUint16(packet[16:], 0xbad)
	return unix.Sendto(fd, packet, 0, sockaddr(netip.AddrPortFrom(p.To.Addr(), 0)))
}
