package plan_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/proxier/trace"
)

// FLOWS_SEED repeats a run, FLOWS_ROUNDS makes it longer.
func number(t *testing.T, env string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

// Whatever the Services are, a packet goes where they promise, with equal chances.
func TestFlowsOfRandomClusters(t *testing.T) {
	seed := number(t, "FLOWS_SEED", uint64(time.Now().UnixNano()))
	rounds := number(t, "FLOWS_ROUNDS", 40)
	t.Logf("seed %d", seed)
	flows, worst := 0, 0
	for round := range rounds {
		g := newGenerator(rand.New(rand.NewPCG(seed, round)))
		c := g.cluster()
		rs := c.rules(t)
		o := newOracle(c, g.once(4))
		n, w := g.probe(t, o, rs)
		flows, worst = flows+n, max(worst, w)
		if t.Failed() {
			t.Fatalf("round %d of FLOWS_SEED=%d, node %+v, config %+v", round, seed, c.Node, c.Config)
		}
	}
	t.Logf("%d flows; at worst a packet is compared with %d rules", flows, worst)
}

// probe compares the rules with the oracle, by packets from everywhere to everything. It returns how many flows
// it tried, and how many rules a packet meets at worst.
func (g *generator) probe(t *testing.T, o oracle, rs ruleset.Ruleset) (flows, worst int) {
	h := trace.Host{Addrs: o.Node.Addrs}
	if o.forwardDrop {
		h.Drops = []ruleset.Chain{{Table: ruleset.Filter, Name: "FORWARD"}}
	}
	ports := slices.Clone(o.ports)
	g.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
	for _, op := range ports[:min(len(ports), 25)] {
		for _, p := range g.packets(o, op) {
			flows++
			r, err := trace.Walk(rs, h, p)
			if err != nil {
				t.Error(err)
				return flows, worst
			}
			worst = max(worst, r.Worst())
			if differs := compare(o.expect(p), r); differs != "" {
				t.Errorf("%+v\n%s\nServices involved:\n%sby the rules:\n%s", p, differs, o.involved(p), o.explain(rs, p))
				return flows, worst
			}
		}
	}
	return flows, worst
}

// compare returns how the result differs from what was expected; empty: it does not.
func compare(want expectation, r trace.Result) string {
	got := expectation{}
	for _, o := range r.Outcomes {
		for _, path := range o.Paths {
			got[outcome{o.Verdict, o.To, o.Masquerade, strings.Join(path.Remembers, " ")}] += path.Probability
		}
	}
	const tolerance = 1e-6
	var b strings.Builder
	for k, p := range want {
		if math.Abs(got[k]-p) > tolerance {
			fmt.Fprintf(&b, "want %+v with probability %.9f, got %.9f\n", k, p, got[k])
		}
	}
	for k, p := range got {
		if _, ok := want[k]; !ok {
			fmt.Fprintf(&b, "want no %+v, got it with probability %.9f\n", k, p)
		}
	}
	return b.String()
}

// involved prints the ports that have to do with the packet's destination.
func (o oracle) involved(p trace.Packet) string {
	var b strings.Builder
	for _, op := range o.ports {
		addresses := slices.Concat([]netip.Addr{op.ClusterIP}, op.ExternalIPs, op.VIPs)
		if op.Proto != p.Proto || !(op.Port == p.DstPort && slices.Contains(addresses, p.Dst)) && op.NodePort != p.DstPort {
			continue
		}
		s := *op.Service
		s.Ports = []model.ServicePort{op.ServicePort}
		s.SourceRanges = slices.DeleteFunc(slices.Clone(s.SourceRanges), func(r netip.Prefix) bool { return !r.Contains(p.Src) && !r.Contains(o.Node.IP) })
		fmt.Fprintf(&b, "%+v\n  for policy Cluster %v\n  for policy Local %v\n", s, op.cluster, op.local)
	}
	return b.String()
}

// packets are the packets to try for one port: to each of its addresses and some beside, from everybody.
func (g *generator) packets(o oracle, op oraclePort) []trace.Packet {
	external := slices.Concat(op.ExternalIPs, op.VIPs)
	var to []netip.AddrPort
	for _, a := range append([]netip.Addr{op.ClusterIP}, external...) {
		to = append(to, netip.AddrPortFrom(a, op.Port))
	}
	to = append(to, netip.AddrPortFrom(op.ClusterIP, op.Port^1), netip.AddrPortFrom(op.ClusterIP.Next(), op.Port))
	for _, a := range append(slices.Clone(o.Node.Addrs), g.in(o, "127.0.0.9"), g.in(o, "192.168.77.77")) {
		if op.NodePort != 0 {
			to = append(to, netip.AddrPortFrom(a, op.NodePort))
		}
		if op.HealthCheckNodePort != 0 {
			to = append(to, netip.AddrPortFrom(a, op.HealthCheckNodePort))
		}
	}
	var packets []trace.Packet
	for _, dst := range to {
		proto := op.Proto
		if g.once(20) || dst.Port() == op.HealthCheckNodePort {
			proto = pick(g, ipproto.Protos[:]...)
		}
		for _, p := range g.sources(o, op, dst.Addr()) {
			p.Dst, p.DstPort, p.Proto = dst.Addr(), dst.Port(), proto
			if op.Affinity > 0 {
				p.Recent = g.recent(op)
			}
			packets = append(packets, p)
		}
	}
	return packets
}

// sources are packets from everybody, without a destination.
func (g *generator) sources(o oracle, op oraclePort, dst netip.Addr) []trace.Packet {
	at := func(in string, texts ...string) []trace.Packet {
		var all []trace.Packet
		for _, text := range texts {
			all = append(all, trace.Packet{Src: g.in(o, text), In: in})
		}
		return all
	}
	all := slices.Concat(
		at("cali1", "10.244.1.77"), at("cbr0", "10.244.1.78"), // pods of this node
		at("eth0", "10.244.2.77", "192.168.0.3", "203.0.113.2", "203.0.113.130", "8.8.8.8"), // other pods and nodes, clients
		at("", "192.168.0.2", "10.244.1.1"))                                                 // processes of this node, also by an address among those of pods
	if dst.IsLoopback() {
		all = append(all, at("", "127.0.0.1")...)
	}
	for _, vip := range op.VIPs[:min(len(op.VIPs), 1)] {
		in := "eth0"
		if o.isLocal(vip) { // some load balancers put it on an interface of the node
			in = ""
		}
		all = append(all, trace.Packet{Src: vip, In: in})
	}
	for _, set := range [][]model.Endpoint{op.cluster, op.local} {
		if len(set) == 0 {
			continue
		}
		switch e := set[g.IntN(len(set))]; { // endpoints that call their own Service
		case o.isLocal(e.Addr.Addr()):
			all = append(all, trace.Packet{Src: e.Addr.Addr()})
		case e.Local:
			all = append(all, trace.Packet{Src: e.Addr.Addr(), In: "cali2"})
		default:
			all = append(all, trace.Packet{Src: e.Addr.Addr(), In: "eth0"})
		}
	}
	return all
}

// recent are the lists that hold a source: none, or some endpoints of the port, chosen at the moment or not.
func (g *generator) recent(op oraclePort) map[string]bool {
	had := map[string]bool{"KUBE-SEP-ELSEWHERE": true}
	all := slices.Concat(op.cluster, op.local)
	if len(all) > 0 && g.once(2) {
		had[affinityList(op, all[g.IntN(len(all))])] = true
		if len(all) <= 32 && g.once(4) { // beyond, kube-proxy's order among several is not kept
			had[affinityList(op, all[g.IntN(len(all))])] = true
		}
	}
	return had
}

// in returns the address as the oracle's family has it.
func (g *generator) in(o oracle, text string) netip.Addr {
	if o.Family == ipproto.IPv6 {
		return six(addr(text))
	}
	return addr(text)
}

// A generator makes clusters in which everything that Services can be happens, and meets everything else.
type generator struct {
	*rand.Rand
	frontends map[frontend]bool // taken
	nodePorts map[frontend]bool
	services  int
	clusterIP func() netip.Addr
	// internal: no Service has an external address.
	internal bool
	// quarrels: Services may claim what others have.
	quarrels bool
	// inIPv6: the cluster is to be taken over into IPv6; entries are made in IPv4.
	inIPv6 bool
}

func newGenerator(r *rand.Rand) *generator {
	g := &generator{Rand: r, frontends: map[frontend]bool{}, nodePorts: map[frontend]bool{}}
	g.clusterIP = pick(g, g.sequentialIP, g.scatteredIP)
	g.internal = g.once(4)
	g.inIPv6 = g.once(3)
	return g
}

type frontend struct {
	addr  netip.Addr
	port  uint16
	proto ipproto.Proto
}

// once is true once in n times, on average.
func (g *generator) once(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// someOf picks up to n different elements, in random order.
func someOf[T any](g *generator, n int, from ...T) []T {
	from = slices.Clone(from)
	g.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:min(g.IntN(n+1), len(from))]
}

func (g *generator) cluster() cluster {
	c := newCluster()
	c.Config = g.config()
	c.Node = model.Node{
		Name: "node-1", Zone: pick(g, "A", "A", "B", ""),
		IP:    pick(g, addr("192.168.0.2"), addr("192.168.0.2"), netip.Addr{}),
		Addrs: addrs("10.244.1.1 127.0.0.1 192.168.0.2 192.168.1.2"),
	}
	if g.once(3) {
		c.Node.Addrs = append(c.Node.Addrs, addr("203.0.113.10"))
	}
	services, most := pick(g, 1, 3, 10, 40), 200
	if g.once(8) { // deep trees
		services, most = 600, 2
	}
	for range services {
		if e, ok := g.entry(most); ok {
			c.Services[e.Service.Name] = e
		}
	}
	return g.family(c)
}

// family returns the cluster in the family that it is to have.
func (g *generator) family(c cluster) cluster {
	if g.inIPv6 {
		return c.inIPv6()
	}
	return c
}

func (g *generator) config() plan.Config {
	return plan.Config{
		MasqueradeAll:  g.once(4),
		MasqueradeMark: pick[uint32](g, 0x4000, 1, 1<<31),
		Detector: pick(g, plan.Detector{}, plan.Detector{PodCIDR: prefix("10.244.0.0/16")}, plan.Detector{PodCIDR: prefix("10.244.1.0/24")},
			plan.Detector{Interface: "cali+"}, plan.Detector{Interface: "cbr0"}),
		NodePortAddresses: pick(g, prefixes("0.0.0.0/0"), prefixes("0.0.0.0/0"), prefixes("192.168.0.0/24"), prefixes("192.168.0.0/16 127.0.0.0/8"),
			prefixes("127.0.0.1/32"), prefixes("192.168.1.2/32 10.0.0.0/8"), prefixes("10.0.0.0/8 0.0.0.0/0"), nil),
		LocalhostNodePorts: !g.once(3), DropInvalid: !g.once(3), NoExternalIPs: g.once(8), NoHairpinMatch: g.once(3),
		CountInvalid: g.once(2), CountLocalhost: g.once(2),
	}
}

// sequentialIP returns addresses side by side, and sometimes one far off.
func (g *generator) sequentialIP() netip.Addr {
	if g.once(100) {
		return netip.AddrFrom4([4]byte{172, 16, byte(g.services >> 8), byte(g.services)})
	}
	return netip.AddrFrom4([4]byte{10, 96, byte(g.services >> 8), byte(g.services)})
}

func (g *generator) scatteredIP() netip.Addr {
	return netip.AddrFrom4([4]byte{10, 96 | byte(g.IntN(16)), byte(g.IntN(256)), byte(g.IntN(256))})
}

// entry makes a Service with up to most endpoints for each port; false: its addresses were taken.
func (g *generator) entry(most int) (model.Entry, bool) {
	g.services++
	s := &model.Service{
		Name:          model.ServiceName{Namespace: pick(g, "shop", "kube-system", "a-namespace"), Name: fmt.Sprint("svc-", g.services)},
		ClusterIP:     g.clusterIP(),
		InternalLocal: g.once(4),
		Ports:         g.ports(),
	}
	if g.once(4) {
		s.Affinity = pick(g, time.Second, 600*time.Second, 10800*time.Second)
	}
	if !g.internal && !g.once(3) {
		s.ExternalIPs = someOf(g, 2, addrs("198.51.100.1 198.51.100.2 198.51.100.77 192.168.1.2 203.0.113.9")...)
		s.VIPs = someOf(g, 3, addrs("203.0.113.9 203.0.113.10 203.0.113.200 198.51.100.200 192.168.0.2 1.2.3.4")...)
		s.ExternalLocal = g.once(2)
	}
	if g.once(2) {
		s.SourceRanges = g.sourceRanges()
	}
	if s.ExternalLocal && g.once(2) {
		s.HealthCheckNodePort = uint16(40000 + g.services) // nothing else has it, whatever the protocol
	}
	if !g.take(s) {
		return model.Entry{}, false
	}
	return model.Entry{Service: s, Backends: g.backends(s, most)}, true
}

// backends makes up to most endpoints for each port. Ports share them, or not.
func (g *generator) backends(s *model.Service, most int) model.Backends {
	backends := model.Backends{}
	var eps []model.Endpoint
	for i, p := range s.Ports {
		if i == 0 || g.once(3) {
			eps = g.endpoints(most)
		}
		if len(eps) == 0 {
			continue
		}
		target := uint16(8000 + g.IntN(1000))
		backends[p.PortKey] = each(func(e model.Endpoint) model.Endpoint {
			e.Addr = netip.AddrPortFrom(e.Addr.Addr(), target)
			return e
		}, eps)
		slices.SortFunc(backends[p.PortKey], model.CompareEndpoints)
	}
	return backends
}

// ports are mostly one, sometimes many; numbers repeat with other protocols.
func (g *generator) ports() []model.ServicePort {
	n := pick(g, 1, 1, 1, 2, 3, 30)
	taken := map[frontend]bool{}
	var ports []model.ServicePort
	for i := range n {
		p := model.ServicePort{PortKey: model.PortKey{Name: fmt.Sprint("p", i), Proto: pick(g, tcp, tcp, udp, sctp)}}
		if n == 1 && g.once(2) {
			p.Name = ""
		}
		p.Port = pick(g, 80, 443, 53, uint16(1+g.IntN(20000)))
		key := frontend{port: p.Port, proto: p.Proto}
		if taken[key] {
			continue
		}
		taken[key] = true
		if g.once(2) {
			p.NodePort = g.nodePort(p.Proto)
		}
		ports = append(ports, p)
	}
	return ports
}

func (g *generator) nodePort(p ipproto.Proto) uint16 {
	for {
		n := pick(g, uint16(30000+g.IntN(32)), uint16(30000+g.IntN(2768)), uint16(21000+g.IntN(7000)))
		if key := (frontend{port: n, proto: p}); !g.nodePorts[key] || g.quarrels {
			g.nodePorts[key] = true
			return n
		}
	}
}

// sourceRanges are a few, or so many that they need a tree, some within others.
func (g *generator) sourceRanges() []netip.Prefix {
	ranges := someOf(g, 4, prefixes("192.168.0.0/24 203.0.113.0/25 203.0.113.0/24 10.244.0.0/16 10.244.1.0/24 8.8.8.8/32 198.51.100.0/24 1.0.0.0/8")...)
	if g.once(4) {
		for range 100 {
			p, _ := netip.AddrFrom4([4]byte{byte(1 + g.IntN(223)), byte(g.IntN(4)), byte(g.IntN(256)), byte(g.IntN(256))}).Prefix(pick(g, 8, 16, 24, 27, 32))
			ranges = append(ranges, p)
		}
	}
	return ranges
}

// take reserves the frontends of a Service, as an API server or a load-balancer controller would.
func (g *generator) take(s *model.Service) bool {
	mine := map[frontend]bool{}
	for _, p := range s.Ports {
		for _, a := range slices.Concat([]netip.Addr{s.ClusterIP}, s.ExternalIPs, s.VIPs) {
			mine[frontend{a, p.Port, p.Proto}] = true
		}
	}
	for f := range mine {
		if g.frontends[f] && !g.quarrels {
			return false
		}
	}
	maps.Copy(g.frontends, mine)
	return true
}

// endpoints returns endpoints without ports.
func (g *generator) endpoints(most int) []model.Endpoint {
	n := min(most, pick(g, 0, 1, 1, 2, 3, 4, 6, 17))
	if g.once(12) {
		n = min(most, pick(g, 32, 33, 64, 65, 100, 200))
	}
	state := pick(g, g.ready, g.ready, g.anyState, g.anyState, g.draining, g.unusable)
	hints := pick(g, g.noHints, g.noHints, g.zoneHints, g.nodeHints, g.someHints)
	placed := pick(g, g.placed, g.placed, g.remote)
	taken := map[netip.Addr]bool{}
	var eps []model.Endpoint
	for len(eps) < n {
		a, local := placed()
		if taken[a] {
			continue
		}
		taken[a] = true
		e := model.Endpoint{Addr: netip.AddrPortFrom(a, 1), Local: local}
		state(&e)
		if hints(&e); !e.Ready && g.once(2) { // the control plane gives hints to ready ones only
			e.ZoneHints, e.NodeHints = "", ""
		}
		eps = append(eps, e)
	}
	return eps
}

func (g *generator) placed() (a netip.Addr, local bool) {
	switch g.IntN(12) {
	case 0:
		return addr("192.168.0.2"), true // in the network of this node
	case 1:
		return addr("192.168.0.3"), false // of another node
	case 2, 3, 4:
		return netip.AddrFrom4([4]byte{10, 244, 1, byte(2 + g.IntN(250))}), true
	}
	return g.remote()
}

func (g *generator) remote() (a netip.Addr, local bool) {
	return netip.AddrFrom4([4]byte{10, 244, byte(2 + g.IntN(8)), byte(2 + g.IntN(250))}), false
}

func (g *generator) ready(e *model.Endpoint)    { e.Ready, e.Serving = true, true }
func (g *generator) draining(e *model.Endpoint) { e.Serving, e.Terminating = true, true }
func (g *generator) unusable(e *model.Endpoint) { e.Serving, e.Terminating = g.once(2), false }
func (g *generator) anyState(e *model.Endpoint) {
	e.Ready, e.Serving, e.Terminating = g.once(3), !g.once(3), g.once(2)
}

func (g *generator) noHints(*model.Endpoint) {}
func (g *generator) zoneHints(e *model.Endpoint) {
	e.ZoneHints = model.NewNames(someZones(g)...)
}

func (g *generator) nodeHints(e *model.Endpoint) {
	e.NodeHints = model.NewNames(pick(g, "node-1", "node-2", "node-3"))
	e.ZoneHints = model.NewNames(someZones(g)...)
}

func (g *generator) someHints(e *model.Endpoint) {
	if !g.once(4) {
		pick(g, g.zoneHints, g.nodeHints)(e)
	}
}

func someZones(g *generator) []string {
	return append(someOf(g, 1, "A", "B", "C"), pick(g, "A", "B", "C", "D"))
}
