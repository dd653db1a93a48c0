package netns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/test/netns/lab"
)

// row is a line of a table: who sends to where, and what comes of it.
type row struct {
	id   string
	from client
	to   destination
	want outcome
	// check replaces the probe by something that takes more than one packet.
	check func(*testing.T, *session)
}

// client is who sends: a host, and the address that it sends from.
type client struct {
	host lab.Host
	addr netip.Addr
}

func from(h lab.Host, addr string) client { return client{h, netip.MustParseAddr(addr)} }

// The clients of the tables.
var (
	pod      = from(lab.Pod, "10.0.0.2")
	external = from(lab.Ext, "203.0.113.2")
	blocked  = from(lab.Blk, "203.0.113.130")
	node     = from(lab.Node, "192.168.0.2")
	loopback = from(lab.Node, "127.0.0.1")
)

// backend is a pod that can be an endpoint too.
func backend(addr string) client { return from(lab.Endpoints, addr) }

// destination is a protocol, an address and a port.
type destination struct {
	proto ipproto.Proto
	addr  netip.AddrPort
}

func tcp(addr string) destination  { return destination{ipproto.TCP, netip.MustParseAddrPort(addr)} }
func udp(addr string) destination  { return destination{ipproto.UDP, netip.MustParseAddrPort(addr)} }
func sctp(addr string) destination { return destination{ipproto.SCTP, netip.MustParseAddrPort(addr)} }

// outcome is what comes of the packets of a row.
type outcome struct {
	kind      kind
	endpoints []netip.AddrPort
	masq      bool
}

type kind uint8

const (
	toEndpoints kind = iota
	kindReject
	kindDrop
	kindUntouched
)

var (
	reject    = outcome{kind: kindReject}    // refused with an ICMP error
	drop      = outcome{kind: kindDrop}      // no answer at all
	untouched = outcome{kind: kindUntouched} // arrives where it was sent, as it was sent
)

// plain reaches every one of the endpoints and nothing else, and they see the client.
func plain(endpoints ...string) outcome {
	o := outcome{}
	for _, e := range endpoints {
		o.endpoints = append(o.endpoints, netip.MustParseAddrPort(e))
	}
	return o
}

// masq is plain, but the endpoints see an address of the node.
func masq(endpoints ...string) outcome {
	o := plain(endpoints...)
	o.masq = true
	return o
}

// in returns the row as the family has it.
func (r row) in(f ipproto.Family) row {
	if f == ipproto.IPv6 && r.from.addr.IsLoopback() && r.to.addr.Addr().IsLoopback() {
		r.want = untouched // node ports have never answered on ::1: the kernel has no route_localnet for IPv6
	}
	r.from.addr = in(f, r.from.addr)
	if r.to.addr.IsValid() {
		r.to.addr = portIn(f, r.to.addr)
	}
	r.want.endpoints = slices.Clone(r.want.endpoints)
	for i, e := range r.want.endpoints {
		r.want.endpoints[i] = portIn(f, e)
	}
	return r
}

// probe is one packet of the row.
func (r row) probe() lab.Probe {
	return lab.Probe{From: r.from.host, Src: r.from.addr, To: r.to.addr, Proto: r.to.proto}
}

// String says in words what is wanted.
func (o outcome) String() string {
	switch o.kind {
	case kindReject:
		return "refused by ICMP"
	case kindDrop:
		return "silence"
	case kindUntouched:
		return "untouched"
	}
	var words []string
	for _, e := range o.endpoints {
		words = append(words, e.String())
	}
	text := strings.Join(words, " or ")
	if o.masq {
		text += ", masqueraded"
	}
	return text
}
