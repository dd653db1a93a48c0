package conntrack

import (
	"net/netip"
	"slices"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// frontend is where clients of a Service send to: an address and port of the Service, or a node port, of which the
// address is the zero Addr.
type frontend = netip.AddrPort

// front is a frontend of a Service with the port that it leads to.
type front struct {
	frontend
	key model.PortKey
}

// fronts returns the UDP frontends of a Service. There are few; nil: none.
func fronts(s *model.Service, noExternalIPs bool) []front {
	if s == nil {
		return nil
	}
	var all []front
	for _, p := range s.Ports {
		if p.Proto != ipproto.UDP {
			continue
		}
		add := func(a netip.Addr, port uint16) { all = append(all, front{netip.AddrPortFrom(a, port), p.PortKey}) }
		if s.ClusterIP.IsValid() {
			add(s.ClusterIP, p.Port)
		}
		for _, a := range s.VIPs {
			add(a, p.Port)
		}
		if !noExternalIPs {
			for _, a := range s.ExternalIPs {
				add(a, p.Port)
			}
		}
		if p.NodePort != 0 {
			add(netip.Addr{}, p.NodePort)
		}
	}
	return all
}

// find returns the port that a frontend leads to.
func find(all []front, f frontend) (model.PortKey, bool) {
	for _, one := range all {
		if one.frontend == f {
			return one.key, true
		}
	}
	return model.PortKey{}, false
}

// keeps reports whether flows to an endpoint may go on. A serving one keeps them while it terminates or while
// policies favour others; a ready one gets new flows, so it keeps the old ones too, also where it is not serving
// (publishNotReadyAddresses).
func keeps(e model.Endpoint) bool { return e.Serving || e.Ready }

// keepers returns the endpoints whose flows may go on.
func keepers(all []model.Endpoint) set {
	s := make(set, len(all))
	for _, e := range all {
		if keeps(e) {
			s[e.Addr] = struct{}{}
		}
	}
	return s
}

// change is what became of the endpoints of a frontend.
type change uint8

const (
	same  change = iota
	more         // some joined: nothing is stale
	other        // flows may be stale
)

// compare compares the endpoints that keep flows, before and now. The first ones that join make stale what
// was not translated without them.
func compare(before, now []model.Endpoint) change {
	if slices.Equal(before, now) {
		return same
	}
	was, is := 0, keepers(now)
	for _, e := range before {
		if !keeps(e) {
			continue
		}
		was++
		if !is.has(e.Addr) {
			return other
		}
	}
	switch {
	case was == len(is):
		return same
	case was == 0:
		return other
	}
	return more
}
