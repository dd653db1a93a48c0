package synthetic

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher"
)

// Size says how large a cluster is, and of what kind its Services are.
type Size struct {
	// Services counts all of them; the first two are default/kubernetes and kube-system/kube-dns.
	Services int
	// Endpoints is the number of endpoints of each Service. The first two have three at most,
	// and default/kubernetes no more than there are nodes.
	Endpoints int
	// Nodes share the endpoints evenly; the first is the own one. Zero: one for each 100 endpoints, three at
	// least.
	Nodes int
	// Families are those in which each Service has an address. None: IPv4 alone.
	Families []ipproto.Family
	// Mix makes Services other than plain ones, which is a cluster IP with one TCP port.
	Mix Mix
}

// Mix holds the share of Services, from 0 to 1, that have a feature. Features are drawn independently.
type Mix struct {
	// NodePort and LoadBalancer give a node port, as long as there are any left in 30000 to 32767;
	// LoadBalancer also a VIP, ExternalIP an external IP, each up to 65,000 times.
	NodePort, LoadBalancer, ExternalIP float64
	// SourceRanges restrict the VIP.
	SourceRanges float64
	// ExternalLocal and InternalLocal are traffic policies; ExternalLocal counts for Services that have one of
	// the addresses above.
	ExternalLocal, InternalLocal float64
	// Affinity is session affinity for three hours, UDP a port of that protocol, Idle a Service that has no
	// endpoint, Hinted one whose endpoints are meant for their own zone.
	Affinity, UDP, Idle, Hinted float64
}

// The most that addresses suffice for.
const (
	MaxServices  = 1 << 19 // half of 10.96.0.0/12
	MaxEndpoints = 1 << 21 // of all Services; a quarter of 10.128.0.0/9
	MaxNodes     = 1 << 15
)

// Check reports whether a cluster of this size can be made.
func (s Size) Check() error {
	switch {
	case s.Services < 0 || s.Services > MaxServices:
		return fmt.Errorf("%d Services: want 0 to %d", s.Services, MaxServices)
	case s.Endpoints < 0 || s.Endpoints > MaxEndpoints || s.Endpoints*s.Services > MaxEndpoints:
		return fmt.Errorf("%d endpoints for each of %d Services: want at most %d in all", s.Endpoints, s.Services, MaxEndpoints)
	case s.Nodes < 0 || s.Nodes > MaxNodes:
		return fmt.Errorf("%d nodes: want 0 to %d", s.Nodes, MaxNodes)
	}
	return nil
}

// Cluster makes a cluster. Equal arguments give equal clusters, and a cluster with more Services contains
// those of the smaller one with the same number of endpoints and nodes.
//
// Cluster IPs are drawn from 10.96.0.0/12 and fd00:10:96::/108 without repetition. Pods are in 10.128.0.0/9 and
// fd00:10:128::/48, one prefix for each node, and nodes in 172.18.0.0/16 and fd00:172:18::/48. A size that
// Check refuses is a bug of the caller.
func Cluster(seed uint64, size Size) watcher.State {
	if err := size.Check(); err != nil {
		panic(err)
	}
	g := newGenerator(seed, size)
	state := watcher.State{
		Services: make(map[model.ServiceName][]*model.Service, size.Services),
		Slices:   make(map[model.SliceName]*model.Slice, size.Services),
		Nodes:    map[ipproto.Family]model.Node{},
	}
	for _, f := range g.size.Families {
		state.Nodes[f] = g.nets[f].ownNode(g.hostBits)
	}
	for i := range size.Services {
		s := g.service(i)
		for _, f := range g.size.Families {
			one := g.perFamily(s, f, i)
			state.Services[s.Name] = append(state.Services[s.Name], one)
			for _, slice := range g.slices(s, f, i) {
				state.Slices[slice.Name] = slice
			}
		}
	}
	return state
}

// generator holds what is decided before the first Service is made.
type generator struct {
	seed     uint64
	size     Size
	nodes    int
	hostBits int // length of the host part of a node's pod prefix, IPv4
	order    permutation
	nets     map[ipproto.Family]network
}

func newGenerator(seed uint64, size Size) *generator {
	if len(size.Families) == 0 {
		size.Families = []ipproto.Family{ipproto.IPv4}
	}
	g := &generator{seed: seed, size: size, nodes: size.Nodes, order: newPermutation(seed), nets: map[ipproto.Family]network{}}
	for _, f := range size.Families {
		g.nets[f] = networkOf(f)
	}
	pods := size.Services * size.Endpoints
	if g.nodes == 0 {
		g.nodes = max(3, pods/100)
	}
	g.hostBits = max(8, bits.Len(uint(pods/g.nodes+3)))
	return g
}

// draw is a Service before it has addresses: what is the same in both families.
type draw struct {
	model.Service
	targets   []uint16 // where the endpoints of each port listen
	endpoints int
	vip, ext  bool
	ranges    bool
	hinted    bool
	hosts     bool // the endpoints are processes on nodes, of which the control plane does not name the node
}

// service draws Service number i. It has its own source of randomness, so that it does not depend on the others.
func (g *generator) service(i int) draw {
	few := min(g.size.Endpoints, 3)
	switch i {
	case 0:
		d := draw{targets: []uint16{6443}, endpoints: min(few, g.nodes), hosts: true}
		d.Name = model.ServiceName{Namespace: "default", Name: "kubernetes"}
		d.Ports = []model.ServicePort{port("https", ipproto.TCP, 443)}
		return d
	case 1:
		d := draw{targets: []uint16{53, 53, 9153}, endpoints: few}
		d.Name = model.ServiceName{Namespace: "kube-system", Name: "kube-dns"}
		d.Ports = []model.ServicePort{
			port("dns", ipproto.UDP, 53), port("dns-tcp", ipproto.TCP, 53), port("metrics", ipproto.TCP, 9153),
		}
		return d
	}
	r := rand.New(rand.NewPCG(g.seed, uint64(i)))
	with := func(share float64) bool { return r.Float64() < share }
	mix := g.size.Mix
	d := draw{targets: []uint16{8080}, endpoints: g.size.Endpoints}
	d.Name = model.ServiceName{Namespace: fmt.Sprintf("team-%d", i/10), Name: fmt.Sprintf("svc-%d", i)}
	d.Ports = []model.ServicePort{port("http", ipproto.TCP, 80)}
	if with(mix.UDP) {
		d.Ports = []model.ServicePort{port("udp", ipproto.UDP, 5000)}
	}
	nodePort := with(mix.NodePort)
	d.vip, d.ext, d.ranges = with(mix.LoadBalancer), with(mix.ExternalIP), with(mix.SourceRanges)
	if n := 30000 + i; (nodePort || d.vip) && n <= 32767 {
		d.Ports[0].NodePort = uint16(n)
	}
	d.ExternalLocal = with(mix.ExternalLocal) && (nodePort || d.vip || d.ext)
	d.InternalLocal = with(mix.InternalLocal)
	if with(mix.Affinity) {
		d.Affinity = 3 * time.Hour
	}
	if with(mix.Idle) {
		d.endpoints = 0
	}
	d.hinted = with(mix.Hinted)
	return d
}

func port(name string, p ipproto.Proto, number uint16) model.ServicePort {
	return model.ServicePort{PortKey: model.PortKey{Name: name, Proto: p}, Port: number}
}

// perFamily gives Service number i its addresses.
func (g *generator) perFamily(d draw, f ipproto.Family, i int) *model.Service {
	net := g.nets[f]
	s := d.Service
	s.ClusterIP = at(net.services, g.clusterOffset(i))
	if i < 1<<16 {
		if d.vip {
			s.VIPs = []netip.Addr{at(net.vips, uint64(i))}
		}
		if d.ext {
			s.ExternalIPs = []netip.Addr{at(net.external, uint64(i))}
		}
	}
	if d.ranges && len(s.VIPs) > 0 {
		s.SourceRanges = []netip.Prefix{net.clients}
	}
	return &s
}

// clusterOffset returns where in the service prefix Service number i is: .1 and .10 by convention, the others
// anywhere.
func (g *generator) clusterOffset(i int) uint64 {
	switch i {
	case 0:
		return 1
	case 1:
		return 10
	}
	return g.order.at(i)
}

// slices returns the endpoints of Service number i in slices of at most 100, which is what the control plane
// writes.
func (g *generator) slices(d draw, f ipproto.Family, i int) []*model.Slice {
	const most = 100
	ports := make([]model.SlicePort, len(d.Ports))
	for k, p := range d.Ports {
		ports[k] = model.SlicePort{PortKey: p.PortKey, Port: d.targets[k]}
	}
	var parts []*model.Slice
	for first := 0; first < d.endpoints; first += most {
		s := &model.Slice{
			Name:    model.SliceName{Namespace: d.Name.Namespace, Name: fmt.Sprintf("%s-%s-%d", d.Name.Name, f, first/most)},
			Service: d.Name,
			Family:  f,
			Ports:   ports,
		}
		for k := first; k < min(first+most, d.endpoints); k++ {
			s.Addresses = append(s.Addresses, g.endpoint(d, f, i*g.size.Endpoints+k))
		}
		parts = append(parts, s)
	}
	return parts
}

// endpoint returns pod number pod of the cluster. Pods are dealt to the nodes in turn.
func (g *generator) endpoint(d draw, f ipproto.Family, pod int) model.SliceAddress {
	node, net := pod%g.nodes, g.nets[f]
	a := model.SliceAddress{Addr: net.pod(node, pod/g.nodes, g.hostBits), Local: node == 0, Ready: true, Serving: true}
	if d.hosts {
		a.Addr, a.Local = net.node(node), false
	}
	if d.hinted {
		a.ZoneHints = model.NewNames(zone(node))
	}
	return a
}
