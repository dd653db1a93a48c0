package model

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"
)

// Merge returns the endpoints of one Service in one family: those of all its slices, by port.
//
// The same address and port twice is one endpoint: an EndpointSlice controller that moves an endpoint writes
// two slices, and a pod can have the address of one that still terminates. Which entry counts does not depend
// on the order of the slices: the one that does not terminate; else the one that is ready; then serving; then
// local; then the one with the greater zone hints and node hints, byte by byte, so that hints win over none.
//
// Ports without endpoints have no key. The result is nil when there is no endpoint at all.
func Merge(parts iter.Seq[*Slice]) Backends {
	byPort := map[PortKey][]candidate{}
	for s := range parts {
		for _, p := range s.Ports {
			if len(s.Addresses) == 0 {
				break
			}
			list := slices.Grow(byPort[p.PortKey], len(s.Addresses))
			for _, a := range s.Addresses {
				list = append(list, newCandidate(a, p.Port))
			}
			byPort[p.PortKey] = list
		}
	}
	if len(byPort) == 0 {
		return nil
	}
	backends := make(Backends, len(byPort))
	for key, list := range byPort {
		backends[key] = distinct(list)
	}
	return backends
}

// candidate is an endpoint with its sort key, which is expensive enough to be made only once: 10,000 endpoints in
// random order then take 6 ms instead of 14.
type candidate struct {
	text string
	Endpoint
}

func newCandidate(a SliceAddress, port uint16) candidate {
	return candidate{Endpoint: Endpoint{
		Addr: netip.AddrPortFrom(a.Addr, port), Local: a.Local,
		Ready: a.Ready, Serving: a.Serving, Terminating: a.Terminating,
		ZoneHints: a.ZoneHints, NodeHints: a.NodeHints,
	}}
}

// distinct sorts the candidates as CompareEndpoints does and keeps the best one of each address.
func distinct(list []candidate) []Endpoint {
	if len(list) == 1 {
		return []Endpoint{list[0].Endpoint}
	}
	for i := range list {
		list[i].text = list[i].Addr.String()
	}
	slices.SortFunc(list, func(a, b candidate) int {
		if c := strings.Compare(a.text, b.text); c != 0 {
			return c
		}
		return -compareDuplicates(a.Endpoint, b.Endpoint)
	})
	endpoints := make([]Endpoint, 0, len(list))
	for i, c := range list {
		if i == 0 || c.Addr != list[i-1].Addr {
			endpoints = append(endpoints, c.Endpoint)
		}
	}
	return endpoints
}

// compareDuplicates orders two endpoints of the same address by how much they deserve to represent it.
// It is zero only for equal endpoints.
func compareDuplicates(a, b Endpoint) int {
	return cmp.Or(
		-compareBool(a.Terminating, b.Terminating),
		compareBool(a.Ready, b.Ready),
		compareBool(a.Serving, b.Serving),
		compareBool(a.Local, b.Local),
		cmp.Compare(a.ZoneHints, b.ZoneHints),
		cmp.Compare(a.NodeHints, b.NodeHints),
	)
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// LocalReady returns how many endpoints of a Service can take new connections on this node: the number of
// distinct addresses, over all ports, that are local, ready and not terminating. Load balancers ask for it at
// the health-check node port, so an endpoint that drains does not count although rules may still use it.
func LocalReady(b Backends) int {
	addrs := map[netip.Addr]struct{}{}
	for _, endpoints := range b {
		for _, e := range endpoints {
			if e.Local && e.Ready && !e.Terminating {
				addrs[e.Addr.Addr()] = struct{}{}
			}
		}
	}
	return len(addrs)
}
