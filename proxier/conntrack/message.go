package conntrack

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// Messages of ctnetlink (linux/netfilter/nfnetlink_conntrack.h).
const (
	subsystem = 1 << 8 // NFNL_SUBSYS_CTNETLINK
	msgGet    = subsystem | 1
	msgNew    = subsystem | 0 // also what a dump consists of
	msgDelete = subsystem | 2
)

// Attributes, by the kernel's names: CTA_TUPLE_ORIG and so on.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaID         = 12
	ctaZone       = 18
	ctaFilter     = 25

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaFilterOrigFlags = 1

	// What the filter compares (net/netfilter/nf_internals.h, CTA_FILTER_F_CTA_PROTO_NUM and
	// CTA_FILTER_F_CTA_PROTO_DST_PORT).
	compareProto   = 1 << 3
	compareDstPort = 1 << 5
)

const (
	nlmsgHeader = unix.SizeofNlMsghdr
	nfgenHeader = 4      // struct nfgenmsg: family, version, resource id
	nlaTypeMask = 0x3fff // the bits above are flags
)

var errShort = errors.New("the message of the kernel is cut off")

// A query is a request for the entries of one family.
type query struct {
	family ipproto.Family
	// port is the destination port of the original direction; zero: any.
	port uint16
	// bare: without the filter for protocol and port, which kernels before 5.8 do not know. Older ones overlook it,
	// and send what they have.
	bare bool
}

// append writes the request. There is more that a kernel can filter by, and no use for it: a zone cannot be the
// default one (net/netfilter/nf_conntrack_netlink.c, ctnetlink_filter_match, takes it for "any"), and of an IPv6
// address it sends all others (ctnetlink_filter_match_tuple).
func (q query) append(b []byte, seq uint32) []byte {
	m := begin(b, msgGet, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, seq, q.family)
	if !q.bare {
		flags := uint32(compareProto)
		tuple := m.nest(ctaTupleOrig)
		proto := m.nest(ctaTupleProto)
		m.attr(ctaProtoNum, byte(ipproto.UDP))
		if q.port != 0 {
			flags |= compareDstPort
			m.attr(ctaProtoDstPort, byte(q.port>>8), byte(q.port))
		}
		m.end(proto)
		m.end(tuple)
		filter := m.nest(ctaFilter)
		m.attr(ctaFilterOrigFlags, binary.NativeEndian.AppendUint32(nil, flags)...)
		m.end(filter)
	}
	return m.finish()
}

// appendDelete writes the request to delete one entry. It is named by its reply direction: by the original one, it
// could be a later entry of the same client, which goes to another endpoint. Without an ID, any entry will do.
func appendDelete(b []byte, f Flow, flags uint16, seq uint32) []byte {
	family := ipproto.FamilyOf(f.ReplySrc.Addr())
	m := begin(b, msgDelete, unix.NLM_F_REQUEST|flags, seq, family)
	m.tuple(ctaTupleReply, ipproto.UDP, f.ReplySrc, f.ReplyDst)
	if f.ID != [4]byte{} {
		m.attr(ctaID, f.ID[:]...)
	}
	return m.finish()
}

// message is one under construction, at the end of a buffer. Integers of netlink are in the byte order of the
// machine, addresses and ports in that of the network.
type message struct {
	b     []byte
	start int
}

func begin(b []byte, kind, flags uint16, seq uint32, f ipproto.Family) *message {
	m := &message{b: b, start: len(b)}
	m.b = binary.NativeEndian.AppendUint32(m.b, 0) // the length comes last
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	m.b = binary.NativeEndian.AppendUint16(m.b, flags)
	m.b = binary.NativeEndian.AppendUint32(m.b, seq)
	m.b = binary.NativeEndian.AppendUint32(m.b, 0) // the kernel fills in the port
	m.b = append(m.b, addressFamily(f), unix.NFNETLINK_V0, 0, 0)
	return m
}

func addressFamily(f ipproto.Family) byte {
	if f == ipproto.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func (m *message) finish() []byte {
	binary.NativeEndian.PutUint32(m.b[m.start:], uint32(len(m.b)-m.start))
	return m.b
}

// nest begins an attribute that consists of attributes; end needs what it returns.
func (m *message) nest(kind uint16) int {
	at := len(m.b)
	m.b = binary.NativeEndian.AppendUint16(m.b, 0)
	m.b = binary.NativeEndian.AppendUint16(m.b, kind|unix.NLA_F_NESTED)
	return at
}

func (m *message) end(at int) { binary.NativeEndian.PutUint16(m.b[at:], uint16(len(m.b)-at)) }

func (m *message) attr(kind uint16, value ...byte) {
	m.b = binary.NativeEndian.AppendUint16(m.b, uint16(unix.SizeofNlAttr+len(value)))
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	m.b = append(m.b, value...)
	for len(m.b)%unix.NLA_ALIGNTO != 0 { // messages begin at multiples too
		m.b = append(m.b, 0)
	}
}

// tuple writes source and destination of one direction.
func (m *message) tuple(kind uint16, p ipproto.Proto, src, dst netip.AddrPort) {
	tuple := m.nest(kind)
	ip := m.nest(ctaTupleIP)
	if src.Addr().Is4() {
		m.attr(ctaIPv4Src, src.Addr().AsSlice()...)
		m.attr(ctaIPv4Dst, dst.Addr().AsSlice()...)
	} else {
		m.attr(ctaIPv6Src, src.Addr().AsSlice()...)
		m.attr(ctaIPv6Dst, dst.Addr().AsSlice()...)
	}
	m.end(ip)
	proto := m.nest(ctaTupleProto)
	m.attr(ctaProtoNum, byte(p))
	m.attr(ctaProtoSrcPort, byte(src.Port()>>8), byte(src.Port()))
	m.attr(ctaProtoDstPort, byte(dst.Port()>>8), byte(dst.Port()))
	m.end(proto)
	m.end(tuple)
}
