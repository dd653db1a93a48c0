package conntrack

import "net/netip"

// Flow is a UDP connection as the kernel tracks it, seen from its first packet.
type Flow struct {
	Src, Dst netip.AddrPort // --orig-src and --orig-dst: the client, and what it sent to
	ReplySrc netip.AddrPort // --reply-src: who answers, an endpoint after DNAT
	ReplyDst netip.AddrPort // --reply-dst: who that answers to, the client unless it is masqueraded
	// ID is the kernel's, and opaque. A later entry has the same at most if it is of the same client and frontend.
	ID [4]byte
}

// translated reports whether rules sent the flow to somebody else than the client did.
func (f Flow) translated() bool { return f.ReplySrc != f.Dst }

// set is a set of endpoints.
type set map[netip.AddrPort]struct{}

func (s set) has(a netip.AddrPort) bool {
	_, ok := s[a]
	return ok
}
