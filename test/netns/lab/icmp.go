package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// icmpError is an ICMP message about a packet that we sent (struct sock_extended_err in linux/errqueue.h).
type icmpError struct {
	origin, kind, code uint8
	offender           netip.Addr // who sent it; the zero Addr: unknown
}

// portUnreachable reports whether it is what "-j REJECT" sends by default.
func (e icmpError) portUnreachable() bool {
	switch e.origin {
	case unix.SO_EE_ORIGIN_ICMP:
		return e.kind == 3 && e.code == 3
	case unix.SO_EE_ORIGIN_ICMP6:
		return e.kind == 1 && e.code == 4
	}
	return false
}

func (e icmpError) String() string {
	return fmt.Sprintf("ICMP type %d code %d from %s (origin %d)", e.kind, e.code, e.offender, e.origin)
}

// readICMP takes one message from the error queue of a socket; nil if there is none.
func readICMP(fd int) (*icmpError, error) {
	data, control := make([]byte, 256), make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, data, control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read error queue: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return nil, fmt.Errorf("read error queue: %w", err)
	}
	for _, m := range messages {
		v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !v4 && !v6 || len(m.Data) < 16 {
			continue
		}
		e := &icmpError{origin: m.Data[4], kind: m.Data[5], code: m.Data[6]}
		switch rest := m.Data[16:]; { // a sockaddr: family, port, address
		case v4 && len(rest) >= 8:
			e.offender = netip.AddrFrom4([4]byte(rest[4:8]))
		case v6 && len(rest) >= 24:
			e.offender = netip.AddrFrom16([16]byte(rest[8:24]))
		}
		return e, nil
	}
	return nil, fmt.Errorf("read error queue: a message without an extended error")
}
