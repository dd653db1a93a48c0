// Package ipproto holds the two smallest words of the data plane: the IP family and the transport protocol.
//
// It knows their numbers and their spelling in Kubernetes and in iptables. It does not know addresses of any
// node or cluster, and it imports nothing of this module, so that every other package can import it.
package ipproto

import (
	"fmt"
	"net/netip"
	"strings"
)

// Family is an IP family. The zero value is Unknown and never describes traffic.
type Family uint8

// The families, each of which is programmed by its own binaries into its own tables.
const (
	UnknownFamily Family = iota
	IPv4
	IPv6
)

// Families lists both families in the order in which they are programmed.
var Families = [...]Family{IPv4, IPv6}

// FamilyOf returns the family of an address; an IPv4 address mapped into IPv6 counts as IPv4.
// The zero Addr has no family.
func FamilyOf(a netip.Addr) Family {
	switch {
	case !a.IsValid():
		return UnknownFamily
	case a.Unmap().Is4():
		return IPv4
	}
	return IPv6
}

// ParseFamily reads "ipv4" or "ipv6", in any letter case.
func ParseFamily(s string) (Family, error) {
	for _, f := range Families {
		if strings.EqualFold(s, f.String()) {
			return f, nil
		}
	}
	return UnknownFamily, fmt.Errorf("unknown IP family %q: want ipv4 or ipv6", s)
}

// String returns "ipv4" or "ipv6".
func (f Family) String() string {
	switch f {
	case IPv4:
		return "ipv4"
	case IPv6:
		return "ipv6"
	}
	return "unknown"
}

// Bits returns the length of an address in bits: 32 or 128.
func (f Family) Bits() int {
	switch f {
	case IPv4:
		return 32
	case IPv6:
		return 128
	}
	return 0
}

// All returns the prefix of length zero, which contains every address of the family.
func (f Family) All() netip.Prefix {
	switch f {
	case IPv4:
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	case IPv6:
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.Prefix{}
}

// Loopback returns 127.0.0.0/8 or ::1/128.
func (f Family) Loopback() netip.Prefix {
	switch f {
	case IPv4:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	case IPv6:
		return netip.PrefixFrom(netip.IPv6Loopback(), 128)
	}
	return netip.Prefix{}
}

// Proto is a transport protocol by its IANA number. The zero value is deliberately Unknown:
// in a rule it does not constrain the packet, in a Service it is an error.
type Proto uint8

// The protocols that a Service port can have.
const (
	UnknownProto Proto = 0
	TCP          Proto = 6
	UDP          Proto = 17
	SCTP         Proto = 132
)

// Protos lists all protocols in ascending order of their numbers.
var Protos = [...]Proto{TCP, UDP, SCTP}

// ParseProto reads a protocol name in any letter case: the API writes TCP, iptables writes tcp.
func ParseProto(s string) (Proto, error) {
	for _, p := range Protos {
		if strings.EqualFold(s, p.String()) {
			return p, nil
		}
	}
	return UnknownProto, fmt.Errorf("unknown protocol %q: want TCP, UDP or SCTP", s)
}

// String returns the name as iptables and the chain hashes spell it: tcp, udp or sctp.
func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return "unknown"
}
