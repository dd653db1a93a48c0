package synthetic

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher"
)

var both = []ipproto.Family{ipproto.IPv4, ipproto.IPv6}

var compareAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

var everything = Mix{
	NodePort: .3, LoadBalancer: .3, ExternalIP: .3, SourceRanges: .5, ExternalLocal: .3, InternalLocal: .3,
	Affinity: .3, UDP: .3, Idle: .2, Hinted: .3,
}

// snapshot is the cluster as one family sees it.
func snapshot(t testing.TB, state watcher.State, f ipproto.Family) model.Snapshot {
	t.Helper()
	tracker := watcher.New()
	tracker.Replace(state)
	tracker.SetSynced()
	s, _, ok := tracker.View(f).Snapshot()
	if !ok {
		t.Fatal("there is no snapshot")
	}
	return s
}

func TestClusterIsAFunctionOfItsSeed(t *testing.T) {
	size := Size{Services: 200, Endpoints: 7, Families: both, Mix: everything}
	if diff := cmp.Diff(Cluster(7, size), Cluster(7, size), compareAddrs); diff != "" {
		t.Errorf("the same seed gives another cluster (-first +second):\n%s", diff)
	}
	if cmp.Equal(Cluster(7, size), Cluster(8, size), compareAddrs) {
		t.Error("another seed gives the same cluster")
	}
	large := size
	size.Nodes, large.Nodes, large.Services = 10, 10, 300
	a, b := Cluster(7, size), Cluster(7, large)
	for name, services := range a.Services {
		if diff := cmp.Diff(services, b.Services[name], compareAddrs); diff != "" {
			t.Fatalf("%v differs in a larger cluster (-small +large):\n%s", name, diff)
		}
	}
	for name, slice := range a.Slices {
		if diff := cmp.Diff(slice, b.Slices[name], compareAddrs); diff != "" {
			t.Fatalf("slice %v differs in a larger cluster (-small +large):\n%s", name, diff)
		}
	}
}

func TestCluster(t *testing.T) {
	for _, test := range []struct {
		size Size
		want int // endpoints of a Service that is not one of the first two
	}{
		{Size{}, 0},
		{Size{Services: 1, Endpoints: 1}, 1},
		{Size{Services: 2}, 0},
		{Size{Services: 1000, Endpoints: 3}, 3},
		{Size{Services: 3, Endpoints: 5000, Nodes: 1}, 5000},
		{Size{Services: 50, Endpoints: 150, Families: both}, 150},
		{Size{Services: 20, Endpoints: 2, Families: []ipproto.Family{ipproto.IPv6}}, 2},
		{Size{Services: 2, Endpoints: 1, Nodes: MaxNodes, Families: both}, 1},
	} {
		t.Run(fmt.Sprintf("%+v", test.size), func(t *testing.T) {
			state := Cluster(1, test.size)
			families := test.size.Families
			if len(families) == 0 {
				families = both[:1]
			}
			if len(state.Nodes) != len(families) {
				t.Errorf("%d nodes for %d families", len(state.Nodes), len(families))
			}
			for _, f := range families {
				s := snapshot(t, state, f)
				if len(s.Services) != test.size.Services {
					t.Errorf("%v: %d Services, want %d", f, len(s.Services), test.size.Services)
				}
				checkAddresses(t, s)
				for name, e := range s.Services {
					want := test.want
					switch {
					case name.Namespace == "default" && test.size.Nodes == 1:
						want = 1
					case name.Namespace == "default" || name.Namespace == "kube-system":
						want = min(want, 3)
					}
					for _, p := range e.Service.Ports {
						if got := len(e.Backends[p.PortKey]); got != want {
							t.Errorf("%v: %s has %d endpoints, want %d", f, e.Service.PortName(p), got, want)
						}
					}
				}
			}
		})
	}
}

// checkAddresses checks that addresses are in their prefixes, that no two Services share a cluster IP, and no
// two pods an address.
func checkAddresses(t *testing.T, s model.Snapshot) {
	t.Helper()
	net := networkOf(s.Family)
	seen := map[netip.Addr]model.ServiceName{}
	take := func(a netip.Addr, name model.ServiceName) {
		if other, ok := seen[a]; ok {
			t.Errorf("%v and %v share %v", other, name, a)
		}
		seen[a] = name
	}
	for name, e := range s.Services {
		take(e.Service.ClusterIP, name)
		if !net.services.Contains(e.Service.ClusterIP) {
			t.Errorf("%v: cluster IP %v", name, e.Service.ClusterIP)
		}
		if len(e.Backends) > 1 {
			continue // kube-dns: the same pods on three ports
		}
		for _, endpoints := range e.Backends {
			for _, ep := range endpoints {
				take(ep.Addr.Addr(), name)
				switch {
				case name.Namespace == "default":
					if !net.nodes.Contains(ep.Addr.Addr()) {
						t.Errorf("%v: endpoint %v is no node", name, ep.Addr)
					}
				case !net.pods.Contains(ep.Addr.Addr()):
					t.Errorf("%v: endpoint %v is no pod", name, ep.Addr)
				case ep.Local != s.Node.PodCIDR.Contains(ep.Addr.Addr()):
					t.Errorf("%v: endpoint %v is local: %v, the node has %v", name, ep.Addr, ep.Local, s.Node.PodCIDR)
				}
			}
		}
	}
}

func TestWellKnownServices(t *testing.T) {
	s := snapshot(t, Cluster(1, Size{Services: 2, Endpoints: 2}), ipproto.IPv4)
	var got []string
	for _, name := range []model.ServiceName{{Namespace: "default", Name: "kubernetes"}, {Namespace: "kube-system", Name: "kube-dns"}} {
		e := s.Services[name]
		for _, p := range e.Service.Ports {
			line := fmt.Sprintf("%s %v:%d/%v", e.Service.PortName(p), e.Service.ClusterIP, p.Port, p.Proto)
			for _, ep := range e.Backends[p.PortKey] {
				line += fmt.Sprintf(" %v local=%v", ep.Addr, ep.Local)
			}
			got = append(got, line)
		}
	}
	want := []string{
		"default/kubernetes:https 10.96.0.1:443/tcp 172.18.0.2:6443 local=false 172.18.0.3:6443 local=false",
		"kube-system/kube-dns:dns 10.96.0.10:53/udp 10.128.0.3:53 local=true 10.128.2.2:53 local=false",
		"kube-system/kube-dns:dns-tcp 10.96.0.10:53/tcp 10.128.0.3:53 local=true 10.128.2.2:53 local=false",
		"kube-system/kube-dns:metrics 10.96.0.10:9153/tcp 10.128.0.3:9153 local=true 10.128.2.2:9153 local=false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("well-known Services (-want +got):\n%s", diff)
	}
}

func TestMix(t *testing.T) {
	const n = 4000
	count := func(mix Mix) map[string]int {
		s := snapshot(t, Cluster(3, Size{Services: n, Endpoints: 1, Mix: mix}), ipproto.IPv4)
		got := map[string]int{}
		for _, e := range s.Services {
			for _, name := range features(e) {
				got[name]++
			}
		}
		return got
	}
	plain := count(Mix{})
	wantPlain := map[string]int{
		"one endpoint":   n,
		"local endpoint": n/40 - 1,                                    // there are 40 nodes; the endpoint of default/kubernetes is not local
		"ports":          1, "udp": 1, "one number, two protocols": 1, // kube-dns
	}
	if diff := cmp.Diff(wantPlain, plain); diff != "" {
		t.Errorf("Services that are not plain (-want +got):\n%s", diff)
	}
	mixed := count(everything)
	for name, share := range map[string]float64{
		"vip": .3, "external ip": .3, "ranges": .15, "internal local": .3, "affinity": .3, "udp": .3, "idle": .2, "hints": .24,
		"external local": .3 * (1 - .7*.7*.7),
	} {
		if got := float64(mixed[name]) / n; got < share-.04 || got > share+.04 {
			t.Errorf("%s: a share of %.3f, want about %.2f", name, got, share)
		}
	}
	if mixed["node port"] == 0 {
		t.Error("no Service has a node port")
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		size Size
		ok   bool
	}{
		{Size{}, true},
		{Size{Services: 100_000, Endpoints: 20}, true},
		{Size{Services: MaxServices, Endpoints: 4}, true},
		{Size{Services: MaxServices + 1}, false},
		{Size{Services: -1}, false},
		{Size{Services: 1000, Endpoints: 1 << 12}, false},
		{Size{Services: 1 << 10, Endpoints: 1 << 60}, false},
		{Size{Nodes: -1}, false},
		{Size{Nodes: MaxNodes + 1}, false},
	} {
		if err := test.size.Check(); (err == nil) != test.ok {
			t.Errorf("%+v: %v", test.size, err)
		}
	}
}

// TestPermutation draws everything there is.
func TestPermutation(t *testing.T) {
	p := newPermutation(42)
	seen := make([]bool, 1<<serviceBits)
	for i := range len(seen) - reservedOffsets {
		n := p.at(i)
		if n < reservedOffsets || seen[n] {
			t.Fatalf("draw %d is %d: reserved, or drawn before", i, n)
		}
		seen[n] = true
	}
}

func BenchmarkCluster(b *testing.B) {
	for _, n := range []int{1000, 30_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			for b.Loop() {
				Cluster(1, Size{Services: n, Endpoints: 3})
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "services/s")
		})
	}
}
