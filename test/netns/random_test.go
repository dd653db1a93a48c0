package netns

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/trace"
	"espalier/test/netns/lab"
	"espalier/watcher"
	"espalier/watcher/synthetic"
)

// TestTraceAgreesWithKernel sends packets through random clusters. Whatever becomes of each must be among what
// package trace says: explain, and the many tests that ask trace, are worth what this test finds.
//
// NETNS_SEED=n repeats a run.
func TestTraceAgreesWithKernel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("NETNS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("NETNS_SEED: %v", err)
		}
	}
	t.Logf("NETNS_SEED=%d", seed)
	forEach(t, func(t *testing.T, b iptables.Backend, f ipproto.Family) {
		for round := range uint64(4) {
			t.Run(fmt.Sprintf("round=%d", round), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, round))
				c := newRandomCluster(r, f)
				s := startSession(t, b, c.lab(t))
				t.Cleanup(s.close)
				s.config = c.config
				state := c.state()
				s.follow(t, state)
				s.sendRandom(t, r, c)
				names := slices.Collect(maps.Keys(state.Slices))
				slices.SortFunc(names, func(x, y model.SliceName) int { return strings.Compare(x.Name, y.Name) })
				for _, name := range names { // some Services lose endpoints
					if r.IntN(3) == 0 {
						delete(state.Slices, name)
					}
				}
				s.follow(t, state)
				s.sendRandom(t, r, c)
			})
		}
	})
}

// randomCluster is a cluster, how to plan for it, and who sends packets to it.
type randomCluster struct {
	model.Snapshot
	config  plan.Config
	clients []client
}

func newRandomCluster(r *rand.Rand, f ipproto.Family) randomCluster {
	c := randomCluster{Snapshot: synthetic.Random(r, f, 10), config: defaults(f)}
	coin := func() bool { return r.IntN(2) == 0 }
	c.config.Detector = plan.Detector{PodCIDR: c.Node.PodCIDR}
	if r.IntN(4) == 0 {
		c.config.Detector = plan.Detector{}
	}
	if r.IntN(4) == 0 {
		c.config.NodePortAddresses = []netip.Prefix{netip.PrefixFrom(c.Node.IP, c.Node.IP.BitLen())}
	}
	c.config.MasqueradeAll, c.config.LocalhostNodePorts, c.config.NoHairpinMatch = r.IntN(4) == 0, coin(), coin()
	inRange, elsewhere := "203.0.113.7", "198.51.100.7"
	if f == ipproto.IPv6 {
		inRange, elsewhere = "2001:db8:99::7", "2600::7"
	}
	c.clients = []client{
		from(lab.Ext, inRange), from(lab.World, elsewhere), {lab.Node, c.Node.IP}, {lab.Node, loopbackOf(f)}, {lab.Pod, podOf(c.Node)},
	}
	for _, name := range c.names() { // endpoints are clients too, and sometimes their own
		e := c.Services[name]
		for _, p := range e.Service.Ports {
			if endpoints := e.Backends[p.PortKey]; len(endpoints) > 0 {
				c.clients = append(c.clients, client{lab.Endpoints, endpoints[r.IntN(len(endpoints))].Addr.Addr()})
			}
		}
	}
	return c
}

// names returns the Services in order, so that equal seeds send equal packets.
func (c randomCluster) names() []model.ServiceName {
	return slices.SortedFunc(maps.Keys(c.Services), model.ServiceName.Compare)
}

func loopbackOf(f ipproto.Family) netip.Addr {
	if f == ipproto.IPv6 {
		return netip.IPv6Loopback()
	}
	return loopback.addr
}

// podOf returns a pod of the node that is no endpoint: those have smaller numbers.
func podOf(n model.Node) netip.Addr {
	a := n.PodCIDR.Addr().AsSlice()
	a[len(a)-1] = 250
	addr, _ := netip.AddrFromSlice(a)
	return addr
}

// lab builds what the cluster needs.
func (c randomCluster) lab(t *testing.T) *lab.Lab {
	t.Helper()
	ports := map[uint16]bool{}
	endpoints := map[netip.Prefix]bool{}
	for _, e := range c.Services {
		ports[e.Service.HealthCheckNodePort] = true
		for _, p := range e.Service.Ports {
			ports[p.Port], ports[p.NodePort] = true, true
			for _, endpoint := range e.Backends[p.PortKey] {
				a := endpoint.Addr.Addr()
				ports[endpoint.Addr.Port()], endpoints[netip.PrefixFrom(a, a.BitLen())] = true, true
			}
		}
	}
	delete(ports, 0)
	pod := podOf(c.Node)
	l, err := lab.New(lab.Config{
		Family: c.Family, Node: []netip.Addr{c.Node.IP}, Ports: slices.Collect(maps.Keys(ports)),
		Routes: map[lab.Host][]netip.Prefix{
			lab.Ext: {netip.PrefixFrom(c.clientIn(lab.Ext), c.Family.Bits())}, lab.Pod: {netip.PrefixFrom(pod, pod.BitLen())},
			lab.Endpoints: slices.Collect(maps.Keys(endpoints)),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (c randomCluster) clientIn(h lab.Host) netip.Addr {
	i := slices.IndexFunc(c.clients, func(cl client) bool { return cl.host == h })
	return c.clients[i].addr
}

// state is the cluster as a source reports it: one slice for each endpoint and port.
func (c randomCluster) state() watcher.State {
	state := watcher.State{
		Services: map[model.ServiceName][]*model.Service{}, Slices: map[model.SliceName]*model.Slice{},
		Nodes: map[ipproto.Family]model.Node{c.Family: c.Node},
	}
	for name, e := range c.Services {
		state.Services[name] = []*model.Service{e.Service}
		for key, endpoints := range e.Backends {
			for i, endpoint := range endpoints {
				slice := &model.Slice{
					Name:    model.SliceName{Namespace: name.Namespace, Name: fmt.Sprintf("%s-%s-%v-%d", name.Name, key.Name, key.Proto, i)},
					Service: name, Family: c.Family,
					Ports: []model.SlicePort{{PortKey: key, Port: endpoint.Addr.Port()}},
					Addresses: []model.SliceAddress{{
						Addr: endpoint.Addr.Addr(), Local: endpoint.Local, ZoneHints: endpoint.ZoneHints, NodeHints: endpoint.NodeHints,
						Ready: endpoint.Ready, Serving: endpoint.Serving, Terminating: endpoint.Terminating,
					}},
				}
				state.Slices[slice.Name] = slice
			}
		}
	}
	return state
}

// destinations are all places where the Services of the cluster answer, in order.
func (c randomCluster) destinations() (all []destination) {
	add := func(a netip.Addr, port uint16, p ipproto.Proto) {
		if port != 0 {
			all = append(all, destination{p, netip.AddrPortFrom(a, port)})
		}
	}
	for _, name := range c.names() {
		s := c.Services[name].Service
		for _, p := range s.Ports {
			for _, a := range slices.Concat([]netip.Addr{s.ClusterIP}, s.VIPs, s.ExternalIPs) {
				add(a, p.Port, p.Proto)
			}
			add(c.Node.IP, p.NodePort, p.Proto)
			add(loopbackOf(c.Family), p.NodePort, p.Proto)
			add(s.ClusterIP, p.NodePort, p.Proto) // where nobody answers
		}
		add(c.Node.IP, s.HealthCheckNodePort, ipproto.TCP)
	}
	return all
}

// sendRandom sends packets from random clients to random destinations.
func (s *session) sendRandom(t *testing.T, r *rand.Rand, c randomCluster) {
	t.Helper()
	if err := s.FlushConntrack(); err != nil { // or a source port that is used again finds its old translation
		t.Fatal(err)
	}
	const packets, tries = 100, 6
	destinations := c.destinations()
	var lost []row
	for range packets {
		p := row{from: c.clients[r.IntN(len(c.clients))], to: destinations[r.IntN(len(destinations))]}
		if p.to.addr.Addr().IsLoopback() {
			p.from = client{lab.Node, loopbackOf(c.Family)} // nobody else reaches it
		} else if p.from.addr.IsLoopback() {
			continue // the kernel refuses to send that, unless route_localnet is set
		}
		predicted := s.trace(t, p).Outcomes
		if predicted[0].Verdict == trace.Drop {
			lost = append(lost, p)
			continue
		}
		for range tries {
			o, err := s.Try(p.probe(), patience)
			if err != nil {
				t.Fatalf("%v\n%s", err, s.explain(t, p))
			}
			if !slices.ContainsFunc(predicted, func(want trace.Outcome) bool { return s.agrees(t, p, o, want) }) {
				t.Fatalf("%s: %s; trace knows %v\n%s", p.probe(), o, predicted, s.explain(t, p))
			}
		}
	}
	s.allLost(t, lost)
}

// allLost sends packets that nobody may answer, all at once, because each of them takes time.
func (s *session) allLost(t *testing.T, rows []row) {
	t.Helper()
	var sending sync.WaitGroup
	got, errs := make([]lab.Observation, len(rows)), make([]error, len(rows))
	for i, p := range rows {
		sending.Go(func() { got[i], errs[i] = s.Try(p.probe(), quiet) })
	}
	sending.Wait()
	for i, p := range rows {
		if errs[i] != nil || got[i].Verdict != lab.Silent {
			t.Errorf("%s: %s, %v; trace knows that it is dropped\n%s", p.probe(), got[i], errs[i], s.explain(t, p))
		}
	}
}

// agrees reports whether an observation is what an outcome of package trace says.
func (s *session) agrees(t *testing.T, p row, o lab.Observation, want trace.Outcome) bool {
	t.Helper()
	switch want.Verdict {
	case trace.None, trace.Accept:
		p.want = untouched
	case trace.Reject:
		p.want = reject
	case trace.Drop:
		p.want = drop
	case trace.DNAT:
		p.want = outcome{endpoints: []netip.AddrPort{want.To}, masq: want.Masquerade}
	}
	return s.differs(t, p, o) == ""
}
