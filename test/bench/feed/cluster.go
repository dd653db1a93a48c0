package feed

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher/kube/kubetest"
	"espalier/watcher/synthetic"
)

// NodeName is the node that the proxy is on; PodCIDR and ServiceCIDR are where pods and cluster IPs are.
const (
	NodeName    = "node-0"
	PodCIDR     = "10.128.0.0/9"
	ServiceCIDR = "10.96.0.0/12"
	NodeCIDR    = "172.18.0.0/16"
)

// Port is where all endpoints listen, those of the well-known Services excepted.
const Port = 8080

// Cluster is a cluster of one size, behind an API server.
type Cluster struct {
	// Targets are the Services with endpoints that answer by TCP, in the order of their addresses, but with
	// default/kubernetes first.
	Targets []Target
	// NodeIP is the node's address.
	NodeIP netip.Addr
	// Endpoint is one that can be connected to directly.
	Endpoint netip.AddrPort

	server  *kubetest.Server
	slices  []*discoveryv1.EndpointSlice // which Churn changes
	churned int                          // changes so far
	probes  int                          // the highest number of a probe, plus one
}

// New makes a cluster with a number of Services that have some endpoints each. The size is one that
// synthetic.Size.Check accepts.
func New(size synthetic.Size) *Cluster {
	const seed = 1
	state := synthetic.Cluster(seed, size)
	c := &Cluster{server: kubetest.New(), NodeIP: state.Nodes[ipproto.IPv4].IP}
	c.server.Apply(nodeObject(state.Nodes[ipproto.IPv4]))
	for name, families := range state.Services {
		s := families[0]
		c.server.Apply(serviceObject(s))
		if p := s.Ports[0]; p.Proto == ipproto.TCP {
			c.Targets = append(c.Targets, Target{name, netip.AddrPortFrom(s.ClusterIP, p.Port), size.Endpoints})
		}
	}
	slices.SortFunc(c.Targets, func(a, b Target) int {
		return cmp.Or(compareFirst(a, b), a.Frontend.Compare(b.Frontend))
	})
	for _, s := range state.Slices {
		o := sliceObject(s)
		c.server.Apply(o)
		if s.Service.Namespace != "default" && s.Service.Namespace != "kube-system" {
			c.slices = append(c.slices, o)
		}
	}
	slices.SortFunc(c.slices, func(a, b *discoveryv1.EndpointSlice) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	c.Endpoint = netip.AddrPortFrom(probeEndpoint('A'), Port)
	c.server.Prepare()
	return c
}

func compareFirst(a, b Target) int {
	rank := func(t Target) int {
		if t.Name.Namespace == "default" {
			return 0
		}
		return 1
	}
	return cmp.Compare(rank(a), rank(b))
}

// Handler answers what clients of the API ask.
func (c *Cluster) Handler() http.Handler { return c.server }

// Disconnect cuts all watches.
func (c *Cluster) Disconnect() { c.server.Cut() }

// Churn makes one change: the last endpoint of one Service is replaced, in turn through the cluster and back.
func (c *Cluster) Churn(now time.Time) {
	if len(c.slices) == 0 {
		return
	}
	o := c.slice(c.churned).DeepCopy()
	if back := c.churned/len(c.slices)%2 == 1; !back && len(o.Endpoints) > 0 {
		last := &o.Endpoints[len(o.Endpoints)-1]
		last.Addresses = []string{another(last.Addresses[0])}
	}
	c.churned++
	stamp(o, now)
	c.server.Apply(o)
}

// slice returns the one that the n-th change is about. Neighbours do not change one after the other.
func (c *Cluster) slice(n int) *discoveryv1.EndpointSlice {
	const stride = 7919 // a prime that divides no round number
	return c.slices[n*stride%len(c.slices)]
}

// Reset undoes all changes, and removes the probes.
func (c *Cluster) Reset() {
	for n := range c.probes {
		c.Probe(n).Remove()
	}
	for n := range min(c.churned, len(c.slices)) {
		c.server.Apply(c.slice(n))
	}
	c.churned, c.probes = 0, 0
	c.server.Prepare()
}

// another returns an address of the upper half of the pods' addresses, which no endpoint has at first.
func another(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	b := a.As4()
	b[1] |= 0x40
	return netip.AddrFrom4(b).String()
}

// stamp notes when the endpoints changed, as the control plane does.
func stamp(o *discoveryv1.EndpointSlice, now time.Time) {
	metav1.SetMetaDataAnnotation(&o.ObjectMeta, corev1.EndpointsLastChangeTriggerTime, now.UTC().Format(time.RFC3339Nano))
	o.Generation++
}

// Probe is a Service with one endpoint that comes and goes.
type Probe struct {
	Name     model.ServiceName
	Frontend netip.AddrPort

	cluster *Cluster
	service *model.Service
}

// Probe returns the n-th probe, 0 to 200. It does not exist yet.
func (c *Cluster) Probe(n int) Probe {
	c.probes = max(c.probes, n+1)
	name := model.ServiceName{Namespace: "bench", Name: "probe-" + strconv.Itoa(n)}
	s := &model.Service{
		Name: name, ClusterIP: netip.AddrFrom4([4]byte{10, 96, 0, byte(20 + n)}),
		Ports: []model.ServicePort{{PortKey: model.PortKey{Name: "http", Proto: ipproto.TCP}, Port: 80}},
	}
	return Probe{Name: name, Frontend: netip.AddrPortFrom(s.ClusterIP, 80), cluster: c, service: s}
}

// Endpoint returns an endpoint that is a probe's own, named by a letter.
func (p Probe) Endpoint(letter byte) netip.Addr { return probeEndpoint(letter) }

func probeEndpoint(letter byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 255, 254, letter}) }

// Put makes the Service, if there is none, with one endpoint.
func (p Probe) Put(endpoint byte) {
	p.cluster.server.Apply(serviceObject(p.service))
	p.Switch(endpoint)
}

// Switch gives the Service another endpoint in place of the one that it has.
func (p Probe) Switch(endpoint byte) {
	o := sliceObject(p.slice(endpoint))
	stamp(o, time.Now())
	p.cluster.server.Apply(o)
}

// Remove deletes the Service and its slice.
func (p Probe) Remove() {
	p.cluster.server.Delete(serviceObject(p.service), sliceObject(p.slice('A')))
}

func (p Probe) slice(endpoint byte) *model.Slice {
	return &model.Slice{
		Name: model.SliceName{Namespace: p.Name.Namespace, Name: p.Name.Name + "-ipv4-0"}, Service: p.Name, Family: ipproto.IPv4,
		Ports:     []model.SlicePort{{PortKey: model.PortKey{Name: "http", Proto: ipproto.TCP}, Port: Port}},
		Addresses: []model.SliceAddress{{Addr: p.Endpoint(endpoint), Ready: true, Serving: true}},
	}
}
