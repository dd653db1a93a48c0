package synthetic

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// Random makes a snapshot with n Services that have any feature, alone and together: several ports and
// protocols, node ports, external IPs (also the node's own address, and the same as a VIP), VIPs shared with
// other Services, source ranges, both policies, affinity, health-check node ports; and 0 to 200 endpoints that
// are local or not, ready, terminating or neither, and meant for zones or nodes.
//
// No two Services claim the same address, protocol and port, and no two the same node port.
func Random(r *rand.Rand, f ipproto.Family, n int) model.Snapshot {
	d := dice{Rand: r, net: networkOf(f), taken: map[claim]bool{}}
	snapshot := model.Snapshot{Family: f, Node: d.net.ownNode(8), Services: make(map[model.ServiceName]model.Entry, n)}
	if d.oneIn(4) {
		snapshot.Node.Zone = ""
	}
	for len(snapshot.Services) < n {
		name := model.ServiceName{Namespace: d.label(), Name: d.label()}
		if _, ok := snapshot.Services[name]; ok {
			continue
		}
		s := d.service(name)
		snapshot.Services[name] = model.Entry{Service: s, Backends: model.Merge(slices.Values(d.slices(s)))}
	}
	return snapshot
}

// dice draws the parts of Services.
type dice struct {
	*rand.Rand
	net   network
	taken map[claim]bool
}

// claim is what one Service alone can have. The zero Addr stands for the node ports.
type claim struct {
	addr  netip.Addr
	proto ipproto.Proto
	port  uint16
}

// oneIn is true once in n times.
func (d dice) oneIn(n int) bool { return d.IntN(n) == 0 }

// between returns a number from lo to hi.
func (d dice) between(lo, hi int) int { return lo + d.IntN(hi-lo+1) }

// claim takes everything, or nothing if something of it is taken.
func (d dice) claim(claims ...claim) bool {
	if slices.ContainsFunc(claims, func(c claim) bool { return d.taken[c] }) {
		return false
	}
	for _, c := range claims {
		d.taken[c] = true
	}
	return true
}

// label returns a DNS label: short as a rule, sometimes as long as it may be.
func (d dice) label() string {
	const inner, outer = "abcdefghijklmnopqrstuvwxyz0123456789-", 36
	length := d.between(1, 12)
	if d.oneIn(20) {
		length = 63
	}
	b := make([]byte, length)
	for i := range b {
		b[i] = inner[d.IntN(len(inner))]
	}
	b[0], b[length-1] = inner[d.IntN(outer)], inner[d.IntN(outer)]
	return string(b)
}

func (d dice) service(name model.ServiceName) *model.Service {
	s := &model.Service{Name: name, InternalLocal: d.oneIn(5)}
	s.Ports = d.ports()
	for s.ClusterIP = d.clusterIP(); !d.claimAll(s, s.ClusterIP); {
		s.ClusterIP = d.clusterIP()
	}
	if d.oneIn(3) {
		s.VIPs = d.frontends(s, d.net.vips, 2)
	}
	if d.oneIn(4) {
		s.ExternalIPs = d.frontends(s, d.net.external, 3)
		if len(s.VIPs) > 0 && d.oneIn(2) {
			s.ExternalIPs = append(s.ExternalIPs, s.VIPs[0])
		}
	}
	if own := d.net.node(0); d.oneIn(10) && d.claimAll(s, own) {
		s.ExternalIPs = append(s.ExternalIPs, own)
	}
	if d.oneIn(3) {
		d.nodePorts(s.Ports)
	}
	if d.oneIn(3) {
		s.SourceRanges = d.sourceRanges()
	}
	if d.oneIn(3) {
		s.Affinity = time.Duration(d.between(1, 86400)) * time.Second
	}
	if d.oneIn(3) {
		s.ExternalLocal = true
		if port := uint16(d.between(32000, 32767)); d.oneIn(2) && d.claim(claim{proto: ipproto.TCP, port: port}) {
			s.HealthCheckNodePort = port
		}
	}
	return s
}

// ports returns ports with distinct names and numbers: one as a rule, at most 12.
func (d dice) ports() []model.ServicePort {
	if d.oneIn(3) {
		return []model.ServicePort{port("", d.proto(), uint16(d.between(1, 65535)))}
	}
	count := d.between(1, 3)
	if d.oneIn(10) {
		count = 12
	}
	var ports []model.ServicePort
	for len(ports) < count {
		p := port(d.label(), d.proto(), uint16(d.between(1, 65535)))
		if len(ports) > 0 && d.oneIn(4) {
			p.Port = ports[0].Port // as DNS has it: the same number with two protocols
		}
		clash := func(o model.ServicePort) bool {
			return o.PortKey == p.PortKey || o.Port == p.Port && o.Proto == p.Proto
		}
		if !slices.ContainsFunc(ports, clash) {
			ports = append(ports, p)
		}
	}
	return ports
}

func (d dice) proto() ipproto.Proto {
	return []ipproto.Proto{ipproto.TCP, ipproto.TCP, ipproto.TCP, ipproto.UDP, ipproto.UDP, ipproto.SCTP}[d.IntN(6)]
}

// nodePorts gives some of the ports a node port.
func (d dice) nodePorts(ports []model.ServicePort) {
	for i := range ports {
		n := uint16(d.between(30000, 31999))
		if !d.oneIn(4) && d.claim(claim{proto: ports[i].Proto, port: n}) {
			ports[i].NodePort = n
		}
	}
}

func (d dice) clusterIP() netip.Addr {
	return at(d.net.services, uint64(d.between(1, 1<<serviceBits-2)))
}

// claimAll takes the Service's ports on an address.
func (d dice) claimAll(s *model.Service, addr netip.Addr) bool {
	var claims []claim
	for _, p := range s.Ports {
		claims = append(claims, claim{addr, p.Proto, p.Port})
	}
	return d.claim(claims...)
}

// frontends returns up to most addresses out of so few that Services share some.
func (d dice) frontends(s *model.Service, p netip.Prefix, most int) []netip.Addr {
	var addrs []netip.Addr
	for range d.between(1, most) {
		if a := at(p, uint64(d.between(1, 20))); d.claimAll(s, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// sourceRanges returns ranges of which some contain clients, the own node or a VIP.
func (d dice) sourceRanges() []netip.Prefix {
	candidates := []netip.Prefix{
		d.net.clients,
		netip.PrefixFrom(d.net.node(0), d.net.family.Bits()),
		d.net.vips,
		d.net.pods,
		netip.PrefixFrom(at(d.net.clients, 7), d.net.family.Bits()),
	}
	d.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	return candidates[:d.between(1, 3)]
}

// slices returns the endpoints of a Service in one to three slices, which may have the same address twice.
func (d dice) slices(s *model.Service) []*model.Slice {
	var parts []*model.Slice
	left := d.count()
	hinted := d.oneIn(3)
	for i := range d.between(1, 3) {
		part := &model.Slice{
			Name:    model.SliceName{Namespace: s.Name.Namespace, Name: fmt.Sprintf("%s-%d", strings.ToLower(s.Name.Name), i)},
			Service: s.Name,
			Family:  d.net.family,
		}
		for _, p := range s.Ports {
			if !d.oneIn(8) {
				part.Ports = append(part.Ports, model.SlicePort{PortKey: p.PortKey, Port: uint16(d.between(1, 65535))})
			}
		}
		count := d.between(0, left)
		if i == 0 {
			count = (left + 1) / 2
		}
		left -= count
		for range count {
			part.Addresses = append(part.Addresses, d.address(hinted))
		}
		parts = append(parts, part)
	}
	return parts
}

// count returns how many endpoints a Service has: none, one, or a few as a rule; 200 at most.
func (d dice) count() int {
	switch d.IntN(10) {
	case 0, 1:
		return 0
	case 2, 3, 4:
		return 1
	case 5, 6, 7:
		return d.between(2, 6)
	case 8:
		return d.between(7, 40)
	}
	return d.between(30, 200)
}

// address returns an endpoint, on the own node once in four times.
func (d dice) address(hinted bool) model.SliceAddress {
	node := d.between(1, 20)
	if d.oneIn(4) {
		node = 0
	}
	a := model.SliceAddress{Addr: d.net.pod(node, d.between(0, 200), 8), Local: node == 0}
	switch d.IntN(8) {
	case 0: // starts
	case 1: // drains
		a.Serving, a.Terminating = true, true
	case 2: // dies
		a.Terminating = true
	case 3: // not ready, serving, not terminating: never used
		a.Serving = true
	case 4: // publishNotReadyAddresses
		a.Ready, a.Serving, a.Terminating = true, true, d.oneIn(2)
	default:
		a.Ready, a.Serving = true, true
	}
	if hinted && !d.oneIn(30) {
		a.ZoneHints = model.NewNames(zone(node), zone(d.between(0, 2)))
		if d.oneIn(2) {
			a.NodeHints = model.NewNames(fmt.Sprintf("node-%d", node))
		}
	}
	return a
}
