package plan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"strings"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// A key is where a rule stands in a dispatch tree: a string of bits, made of the address (none in a tree of
// node ports), two bits for the protocol and sixteen for the port. A key may be cut short, and then stands for
// all that begin with it: 10.96.0.0/12, or the ports 30000 to 30015 of one protocol.
type key struct {
	bits   [19]byte // 128 + 2 + 16 bits fit
	n      uint8    // how many of the bits count
	addr   uint8    // how many bits the address part has: 0, 32 or 128
	source bool     // the address is the source of the packet
}

// Bits for the protocols, in the order of their numbers. 0 is left for "no protocol".
var protoBits = map[ipproto.Proto]byte{ipproto.TCP: 1, ipproto.UDP: 2, ipproto.SCTP: 3}

const (
	protoLen = 2
	portLen  = 16
)

// frontendKey is the key of one address, protocol and port.
func frontendKey(a netip.AddrPort, p ipproto.Proto) key {
	k := prefixKey(netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	return k.withPort(p, a.Port())
}

// portKey is the key of one protocol and port on whatever address.
func portKey(p ipproto.Proto, port uint16) key { return key{}.withPort(p, port) }

// prefixKey is the key of all that has an address in the prefix.
func prefixKey(p netip.Prefix) key {
	k := key{n: uint8(p.Bits()), addr: uint8(p.Addr().BitLen())}
	copy(k.bits[:], p.Masked().Addr().AsSlice())
	return k
}

func (k key) withPort(p ipproto.Proto, port uint16) key {
	var tail [4]byte // protocol and port as the uppermost 18 bits
	binary.BigEndian.PutUint32(tail[:], uint32(protoBits[p])<<30|uint32(port)<<14)
	copy(k.bits[k.addr/8:], tail[:3])
	k.n = k.addr + protoLen + portLen
	return k
}

// compare orders keys by their bits; a key comes before all that begin with it.
func (k key) compare(o key) int {
	if c := bytes.Compare(k.bits[:], o.bits[:]); c != 0 {
		return c
	}
	return int(k.n) - int(o.n)
}

// firstDifference returns the first bit in which the keys differ, or where the shorter one ends.
func (k key) firstDifference(o key) uint8 {
	n := min(k.n, o.n)
	for i := range k.bits {
		if x := k.bits[i] ^ o.bits[i]; x != 0 {
			return min(n, uint8(8*i+bits.LeadingZeros8(x)))
		}
	}
	return n
}

// common returns the longest key that both begin with and that a rule can express.
func (k key) common(o key) key { return k.cut(k.firstDifference(o)).expressible() }

// expressible returns the key without half a protocol, which no rule can match.
func (k key) expressible() key {
	if k.n > k.addr && k.n < k.addr+protoLen {
		return k.cut(k.addr)
	}
	return k
}

// cut returns the first n bits.
func (k key) cut(n uint8) key {
	c := key{n: n, addr: k.addr, source: k.source}
	whole := n / 8
	copy(c.bits[:whole], k.bits[:whole])
	if rest := n % 8; rest != 0 {
		c.bits[whole] = k.bits[whole] &^ (0xff >> rest)
	}
	return c
}

// covers reports whether o begins with k.
func (k key) covers(o key) bool { return o.n >= k.n && o.cut(k.n) == k.cut(k.n) }

// bit returns bit i, 0 or 1.
func (k key) bit(i uint8) byte { return k.bits[i/8] >> (7 - i%8) & 1 }

// atProto reports whether the next bit after the key is the first of the protocol.
func (k key) atProto() bool { return k.n == k.addr }

// level returns the bit at which the level of the tree ends that a chain for k begins: four bits of the address,
// the protocol, or four bits of the port.
func (k key) level() uint8 {
	switch {
	case k.n < k.addr:
		return min((k.n/levelBits+1)*levelBits, k.addr)
	case k.n == k.addr:
		return k.addr + protoLen
	}
	ports := k.addr + protoLen
	return ports + ((k.n-ports)/levelBits+1)*levelBits
}

// proto returns the protocol part, which the key must have.
func (k key) proto() ipproto.Proto {
	code := k.bit(k.addr)<<1 | k.bit(k.addr+1)
	for p, c := range protoBits {
		if c == code {
			return p
		}
	}
	return ipproto.UnknownProto
}

// prefix returns the address part.
func (k key) prefix() netip.Prefix {
	if k.addr == 0 {
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(k.bits[:k.addr/8])
	n := min(k.n, k.addr)
	if n < k.addr {
		return netip.PrefixFrom(a, int(n)).Masked()
	}
	return netip.PrefixFrom(a, int(n))
}

// ports returns the range of ports that the key stands for; the zero value if it does not limit them.
func (k key) ports() ruleset.Ports {
	rest := int(k.n) - int(k.addr) - protoLen
	if rest <= 0 {
		return ruleset.Ports{}
	}
	var first uint16
	for i := range uint8(rest) {
		first |= uint16(k.bit(k.addr+protoLen+i)) << (15 - i)
	}
	return ruleset.Ports{First: first, Last: first | uint16(1<<(portLen-rest)-1)}
}

// match adds what the key stands for to a rule.
func (k key) match(r ruleset.Rule) ruleset.Rule {
	if k.addr > 0 && k.n > 0 {
		if k.source {
			r.Src = k.prefix()
		} else {
			r.Dst = k.prefix()
		}
	}
	if k.n > k.addr {
		r.Proto, r.DstPorts = k.proto(), k.ports()
	}
	return r
}

// chainName names the chain that holds what begins with the key, so that an operator can read it where the
// kernel's limit on names allows: KUBE-SVC-10.96.0.0/20, KUBE-EXT-tcp-30000-30015, else a hash.
func (k key) chainName(prefix string) string {
	var text string
	switch {
	case k.addr == 0 && k.n > 0:
		text = k.proto().String()
		if p := k.ports(); p != (ruleset.Ports{}) {
			text += "-" + strings.ReplaceAll(p.String(), ":", "-")
		}
	case k.addr == 32 && k.n <= k.addr:
		text = k.prefix().String()
	default:
		// The blank keeps the input apart from that of a Service's chain.
		r := k.match(ruleset.Rule{})
		text = ruleset.Hash("tree ", k.prefix().String(), " ", r.Proto.String(), " ", r.DstPorts.String())
	}
	return prefix + text
}
