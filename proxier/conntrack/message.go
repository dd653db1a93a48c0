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
	msgNew    = subsystem // also what a dump consists of
	msgDelete = subsystem | 2
	msgStats  = subsystem | 5 // IPCTNL_MSG_CT_GET_STATS
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

	// What the filter compares (net/netfilter/nf_internals.h, CTA_FILTER_F_CTA_PROTO_NUM).
	compareProto = 1 << 3

	ctaStatsGlobalEntries = 1
)

const (
	nlmsgHeader = unix.SizeofNlMsghdr
	nfgenHeader = 4      // struct nfgenmsg: family, version, resource id
	nlaTypeMask = 0x3fff // the bits above are flags
)

var errShort = errors.New("the message of the kernel is cut off")

// appendDump writes the request for entries: of one family, or if that is unknown, of all; of UDP alone, or if not
// filtered, of all protocols.
//
// There is more that a kernel can filter by, and no use for it. A zone cannot be the default one, and of an IPv6 address
// it sends all others (net/netfilter/nf_conntrack_netlink.c, ctnetlink_filter_match and ctnetlink_filter_match_tuple).
// A port leaves too little to send; see filtered.
func appendDump(b []byte, f ipproto.Family, filter bool, seq uint32) []byte {
	m := begin(b, msgGet, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, seq, f)
	if filter {
		tuple := m.nest(ctaTupleOrig)
		proto := m.nest(ctaTupleProto)
		m.attr(ctaProtoNum, byte(ipproto.UDP))
		m.end(proto)
		m.end(tuple)
		filter := m.nest(ctaFilter)
		m.attr(ctaFilterOrigFlags, binary.NativeEndian.AppendUint32(nil, compareProto)...)
		m.end(filter)
	}
	return m.finish()
}

// appendCount writes the request for the number of entries.
func appendCount(b []byte, seq uint32) []byte {
	return begin(b, msgStats, unix.NLM_F_REQUEST, seq, ipproto.UnknownFamily).finish()
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
	switch f {
	case ipproto.IPv4:
		return unix.AF_INET
	case ipproto.IPv6:
		return unix.AF_INET6
	}
	return unix.AF_UNSPEC
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
