package conntrack

import "net/netip"

// Work is a number of frontends that have to be cleaned.
type Work struct {
	addresses map[frontend]target
	nodePorts map[uint16]target
	left      *departure // nil: the node has lost no address
}

// departure is what goes with addresses that the node has lost: flows to them that rules sent to the endpoints of a
// node port.
type departure struct {
	from Addresses
	ends map[uint16]lookup // by node port
}

func (d *departure) stale(f Flow) bool {
	return d != nil && d.from.lists(f.Dst.Addr()) && f.translated() && d.ends[f.Dst.Port()].has(f.ReplySrc)
}

// target says which flows to a frontend are stale.
type target struct {
	gone bool
	// endpoints are those that keep their flows, or if the frontend is gone, those whose flows are stale.
	endpoints lookup
}

// Empty reports whether there is nothing to do.
func (w Work) Empty() bool { return w.Frontends() == 0 && w.left == nil }

// Frontends returns how many frontends there are.
func (w Work) Frontends() int { return len(w.addresses) + len(w.nodePorts) }

// HasNodePorts reports whether Stale has to know where node ports answer.
func (w Work) HasNodePorts() bool { return len(w.nodePorts) > 0 }

// Stale reports whether a flow is stale, and to which frontend it goes. As in the rules, an address of a Service
// precedes a node port.
func (w Work) Stale(f Flow, open Addresses) (netip.AddrPort, bool) {
	if t, ours := w.addresses[f.Dst]; ours {
		return f.Dst, t.stale(f)
	}
	if w.left.stale(f) {
		return netip.AddrPort{}, true
	}
	t, ours := w.nodePorts[f.Dst.Port()]
	if !ours || !open.has(f.Dst.Addr()) {
		return netip.AddrPort{}, false
	}
	if !f.translated() && t.endpoints.empty() {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.Addr{}, f.Dst.Port()), t.stale(f)
}

func (t target) stale(f Flow) bool {
	if t.gone {
		return f.translated() && t.endpoints.has(f.ReplySrc)
	}
	return !t.endpoints.has(f.ReplySrc)
}

// Addresses are those of the node on which node ports answer. The zero value has none.
type Addresses struct {
	list     map[netip.Addr]struct{}
	loopback bool
}

// NewAddresses returns the addresses of a list, and if loopback, all of 127.0.0.0/8 too, which are the node's
// without being listed anywhere. Loopback addresses in the list do not count.
func NewAddresses(list []netip.Addr, loopback bool) Addresses {
	a := Addresses{list: make(map[netip.Addr]struct{}, len(list)), loopback: loopback}
	for _, one := range list {
		a.list[one] = struct{}{}
	}
	return a
}

// without returns those of the list that others have not.
func (a Addresses) without(others Addresses) Addresses {
	var rest Addresses
	for one := range a.list {
		if !others.lists(one) {
			put(&rest.list, one, struct{}{})
		}
	}
	return rest
}

// and returns those of both lists.
func (a Addresses) and(more Addresses) Addresses {
	var all Addresses
	for _, some := range []Addresses{a, more} {
		for one := range some.list {
			put(&all.list, one, struct{}{})
		}
	}
	return all
}

func (a Addresses) lists(one netip.Addr) bool {
	_, ok := a.list[one]
	return ok
}

func (a Addresses) has(one netip.Addr) bool {
	if one.IsLoopback() {
		return a.loopback
	}
	return a.lists(one)
}
