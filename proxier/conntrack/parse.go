package conntrack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// header is what precedes each message of the kernel (struct nlmsghdr).
type header struct {
	kind, flags uint16
	seq         uint32
}

// next takes the first message of a buffer and returns its header, its body, and the rest of the buffer.
func next(b []byte) (h header, body, rest []byte, err error) {
	if len(b) < nlmsgHeader {
		return h, nil, nil, errShort
	}
	size := int64(binary.NativeEndian.Uint32(b))
	h.kind = binary.NativeEndian.Uint16(b[4:])
	h.flags = binary.NativeEndian.Uint16(b[6:])
	h.seq = binary.NativeEndian.Uint32(b[8:])
	if size < nlmsgHeader || size > int64(len(b)) {
		return h, nil, nil, errShort
	}
	aligned := min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), int64(len(b)))
	return h, b[nlmsgHeader:size], b[aligned:], nil
}

// errno reads the body of an NLMSG_ERROR, or of an NLMSG_DONE: both begin with the result. nil: it went well.
func errno(body []byte) error {
	if len(body) < 4 {
		return errShort
	}
	if code := -int32(binary.NativeEndian.Uint32(body)); code != 0 {
		return unix.Errno(code)
	}
	return nil
}

// attrs calls f for each attribute. It returns false if they are cut off.
func attrs(b []byte, f func(kind uint16, value []byte)) bool {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		kind := binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask
		if size < unix.SizeofNlAttr || size > len(b) {
			return false
		}
		f(kind, b[unix.SizeofNlAttr:size])
		b = b[min((size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
	}
	return true
}

// parseFlow reads an entry. It is not ok if it is none of UDP in the default zone, or cannot be read.
func parseFlow(body []byte) (f Flow, ok bool) {
	if len(body) < nfgenHeader {
		return f, false
	}
	var orig, reply tuple
	zone, whole, identified := false, true, false
	whole = attrs(body[nfgenHeader:], func(kind uint16, value []byte) {
		switch kind {
		case ctaTupleOrig:
			whole = orig.parse(value) && whole
		case ctaTupleReply:
			whole = reply.parse(value) && whole
		case ctaID:
			if identified = len(value) == len(f.ID); identified {
				f.ID = [4]byte(value)
			}
		case ctaZone: // only there if it is not the default one
			zone = true
		}
	}) && whole
	f.Src, f.Dst, f.ReplySrc, f.ReplyDst = orig.from(), orig.to(), reply.from(), reply.to()
	udp := orig.proto == ipproto.UDP && orig.complete() && reply.complete()
	return f, whole && identified && udp && !zone && !orig.zone && !reply.zone
}

// parseCount reads how many entries there are.
func parseCount(body []byte) int {
	n := 0
	if len(body) >= nfgenHeader {
		attrs(body[nfgenHeader:], func(kind uint16, value []byte) {
			if kind == ctaStatsGlobalEntries && len(value) == 4 {
				n = int(binary.BigEndian.Uint32(value))
			}
		})
	}
	return n
}

// tuple is one direction of an entry.
type tuple struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	proto            ipproto.Proto
	zone             bool
}

func (t *tuple) from() netip.AddrPort { return netip.AddrPortFrom(t.src, t.srcPort) }
func (t *tuple) to() netip.AddrPort   { return netip.AddrPortFrom(t.dst, t.dstPort) }

func (t *tuple) complete() bool { return t.src.IsValid() && t.dst.IsValid() }

func (t *tuple) parse(b []byte) bool {
	whole := true
	return attrs(b, func(kind uint16, value []byte) {
		switch kind {
		case ctaTupleIP:
			whole = attrs(value, t.address) && whole
		case ctaTupleProto:
			whole = attrs(value, t.protocol) && whole
		case ctaTupleZone:
			t.zone = true
		}
	}) && whole
}

func (t *tuple) address(kind uint16, value []byte) {
	switch {
	case kind == ctaIPv4Src && len(value) == 4:
		t.src = netip.AddrFrom4([4]byte(value))
	case kind == ctaIPv4Dst && len(value) == 4:
		t.dst = netip.AddrFrom4([4]byte(value))
	case kind == ctaIPv6Src && len(value) == 16:
		t.src = netip.AddrFrom16([16]byte(value))
	case kind == ctaIPv6Dst && len(value) == 16:
		t.dst = netip.AddrFrom16([16]byte(value))
	}
}

func (t *tuple) protocol(kind uint16, value []byte) {
	switch {
	case kind == ctaProtoNum && len(value) == 1:
		t.proto = ipproto.Proto(value[0])
	case kind == ctaProtoSrcPort && len(value) == 2:
		t.srcPort = binary.BigEndian.Uint16(value)
	case kind == ctaProtoDstPort && len(value) == 2:
		t.dstPort = binary.BigEndian.Uint16(value)
	}
}
