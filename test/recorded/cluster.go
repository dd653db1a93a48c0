package recorded

import (
	"fmt"
	"iter"
	"net/netip"

	"espalier/proxier/ipproto"
)

// NodeName is the node that kube-proxy ran on, and NodeIP its address in a family.
const NodeName = "test-node"

// NodeIP returns the address of the node.
func NodeIP(f ipproto.Family) netip.Addr { return pick(f, "192.168.0.2", "2001:db8::1") }

// ClusterCIDR is what kube-proxy was told with --cluster-cidr; endpoints are in it, and so are pods that are not.
const ClusterCIDR = "10.0.0.0/8,fd00:10::/32"

// Sizes are the numbers of Services of the clusters that were recorded.
func Sizes() []int { return []int{10, 1000, 10000} }

// Kind is what is special about a Service.
type Kind uint8

// The kinds. The first two Services of a cluster are APIServer and DNS, the others take turns from NodePort on, so
// that ten have all but the last four, which need a larger cluster.
const (
	APIServer     Kind = iota // default/kubernetes
	DNS                       // kube-system/kube-dns: one port number, UDP and TCP
	NodePort                  // type NodePort
	Ranges                    // type LoadBalancer, for SourceRange
	ExternalIP                // has an external IP
	Affinity                  // a client stays at its endpoint
	LocalEndpoint             // type LoadBalancer, externalTrafficPolicy Local, with an endpoint on the node, and more elsewhere
	NoneLocal                 // the same with no endpoint on the node
	Idle                      // type LoadBalancer, without endpoints
	SCTP                      // a port of SCTP
	Plain                     // nothing but a cluster IP
	InternalLocal             // internalTrafficPolicy Local, with an endpoint on the node
	Many                      // a hundred endpoints; one in a cluster
	LocalAffinity             // NoneLocal and LocalEndpoint in one, with Affinity and Ranges: every chain that there is
	kinds
)

// Kinds returns all kinds.
func Kinds() iter.Seq[Kind] {
	return func(yield func(Kind) bool) {
		for k := range kinds {
			if !yield(k) {
				return
			}
		}
	}
}

// Service is one of the cluster, in both families.
type Service struct {
	Number          int
	Kind            Kind
	Namespace, Name string
	Ports           []Port
	// HealthPort is the health check node port, or zero.
	HealthPort uint16
	// Endpoints is how many there are; the first of them is pod number First of the cluster.
	First, Endpoints int
}

// Port is one of a Service. Endpoints listen on the same number.
type Port struct {
	Name     string
	Proto    ipproto.Proto
	Port     uint16
	NodePort uint16 // or zero
}

// Cluster returns the Services of a cluster. One with more Services begins with those of a smaller one.
func Cluster(size int) []Service {
	list := make([]Service, 0, size)
	pods := 0
	for i := range size {
		s := service(i)
		s.First = pods
		pods += s.Endpoints
		list = append(list, s)
	}
	return list
}

// many is the number of the Service with a hundred endpoints.
const many = 22

// service returns Service number i.
func service(i int) Service {
	switch i {
	case 0:
		return Service{Kind: APIServer, Namespace: "default", Name: "kubernetes", Endpoints: 3, Ports: []Port{{"https", ipproto.TCP, 443, 0}}}
	case 1:
		return Service{
			Number: 1, Kind: DNS, Namespace: "kube-system", Name: "kube-dns", Endpoints: 2,
			Ports: []Port{{"dns", ipproto.UDP, 53, 0}, {"dns-tcp", ipproto.TCP, 53, 0}},
		}
	}
	s := Service{Number: i, Kind: kindOf(i), Namespace: fmt.Sprintf("ns%d", i/100), Name: fmt.Sprintf("svc%d", i), Endpoints: 1 + i/7%2}
	port := Port{Name: "http", Proto: ipproto.TCP, Port: 80}
	switch s.Kind {
	case NodePort, Ranges, LocalEndpoint, NoneLocal, Idle, LocalAffinity:
		port.NodePort = uint16(20000 + i)
	case SCTP:
		port.Name, port.Proto = "sctp", ipproto.SCTP
	}
	switch s.Kind {
	case LocalEndpoint:
		s.HealthPort = uint16(30001 + i/12*3)
	case NoneLocal:
		s.HealthPort = uint16(30002 + i/12*3)
	case LocalAffinity:
		s.HealthPort = uint16(30003 + i/12*3)
	case Idle:
		s.Endpoints = 0
	case Affinity:
		s.Endpoints = 3
	case Many:
		s.Endpoints = 100
	}
	if s.Local(0) {
		s.Endpoints++
	}
	s.Ports = []Port{port}
	return s
}

// kindOf returns the kind of one of the Services that take turns.
func kindOf(i int) Kind {
	if i == many {
		return Many
	}
	k := NodePort + Kind((i-2)%int(kinds-NodePort))
	if k == Many {
		return Plain
	}
	return k
}

// Is reports whether the Service has a feature of a kind.
func (s Service) Is(k Kind) bool {
	switch k {
	case Ranges, Affinity, LocalEndpoint:
		return s.Kind == k || s.Kind == LocalAffinity
	}
	return s.Kind == k
}

// External reports whether the external traffic policy is Local.
func (s Service) External() bool { return s.Kind == NoneLocal || s.Is(LocalEndpoint) }

// LoadBalanced reports whether the Service has a VIP.
func (s Service) LoadBalanced() bool {
	return s.External() || s.Kind == Ranges || s.Kind == Idle
}

// Local reports whether endpoint number e runs on the node. Of those that have such an endpoint it is the first.
func (s Service) Local(e int) bool {
	return e == 0 && (s.Is(LocalEndpoint) || s.Kind == InternalLocal)
}

// ClusterIP is the cluster IP. Not every Service has all of the addresses that follow.
func (s Service) ClusterIP(f ipproto.Family) netip.Addr {
	return numbered(f, [4]byte{172, 30}, "fd00:172:30::", s.Number+1)
}

// VIP is the address of the load balancer.
func (s Service) VIP(f ipproto.Family) netip.Addr {
	return numbered(f, [4]byte{198, 18}, "2600:198:18::", s.Number+1)
}

// ExternalIP is the external IP.
func (s Service) ExternalIP(f ipproto.Family) netip.Addr {
	return numbered(f, [4]byte{198, 19}, "2600:198:19::", s.Number+1)
}

// Endpoint is the address of endpoint number e.
func (s Service) Endpoint(f ipproto.Family, e int) netip.Addr {
	return numbered(f, [4]byte{10, 180}, "fd00:10:180::", s.First+e+1)
}

// SourceRange is whom a load balancer with ranges admits.
func SourceRange(f ipproto.Family) netip.Prefix {
	if f == ipproto.IPv4 {
		return netip.MustParsePrefix("203.0.113.0/25")
	}
	return netip.MustParsePrefix("2600:5200::/64")
}

// numbered returns an address with a number in its last 16 bits.
func numbered(f ipproto.Family, four [4]byte, six string, n int) netip.Addr {
	if f == ipproto.IPv4 {
		four[2], four[3] = byte(n>>8), byte(n)
		return netip.AddrFrom4(four)
	}
	b := netip.MustParseAddr(six).As16()
	b[14], b[15] = byte(n>>8), byte(n)
	return netip.AddrFrom16(b)
}

func pick(f ipproto.Family, four, six string) netip.Addr {
	if f == ipproto.IPv4 {
		return netip.MustParseAddr(four)
	}
	return netip.MustParseAddr(six)
}
