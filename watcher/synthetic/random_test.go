package synthetic

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// features names what a Service has that a plain one does not have.
func features(e model.Entry) []string {
	s := e.Service
	var names []string
	add := func(has bool, name string) {
		if has {
			names = append(names, name)
		}
	}
	anyPort := func(has func(model.ServicePort) bool) bool { return slices.ContainsFunc(s.Ports, has) }
	anyEndpoint := func(has func(model.Endpoint) bool) bool {
		for _, list := range e.Backends {
			if slices.ContainsFunc(list, has) {
				return true
			}
		}
		return false
	}
	most := 0
	for _, list := range e.Backends {
		most = max(most, len(list))
	}
	add(len(s.Ports) > 1, "ports")
	add(len(s.Ports) > 10, "many ports")
	add(anyPort(func(p model.ServicePort) bool { return p.Name == "" }), "unnamed port")
	add(anyPort(func(p model.ServicePort) bool { return p.Proto == ipproto.UDP }), "udp")
	add(anyPort(func(p model.ServicePort) bool { return p.Proto == ipproto.SCTP }), "sctp")
	add(anyPort(func(p model.ServicePort) bool { return p.NodePort != 0 }), "node port")
	add(anyPort(func(p model.ServicePort) bool { return p.Port == s.Ports[0].Port && p.Proto != s.Ports[0].Proto }), "one number, two protocols")
	add(len(s.VIPs) > 0, "vip")
	add(len(s.ExternalIPs) > 0, "external ip")
	add(slices.ContainsFunc(s.ExternalIPs, func(a netip.Addr) bool { return slices.Contains(s.VIPs, a) }), "external ip that is the vip")
	add(len(s.SourceRanges) > 0 && len(s.VIPs) > 0, "ranges")
	add(s.InternalLocal, "internal local")
	add(s.ExternalLocal, "external local")
	add(s.HealthCheckNodePort != 0, "health check")
	add(s.Affinity != 0, "affinity")
	add(len(e.Backends) == 0, "idle")
	add(most == 1, "one endpoint")
	add(most > 32, "many endpoints")
	add(most > 100, "very many endpoints")
	add(anyEndpoint(func(e model.Endpoint) bool { return e.Local }), "local endpoint")
	add(anyEndpoint(func(e model.Endpoint) bool { return !e.Ready && e.Serving && e.Terminating }), "draining")
	add(anyEndpoint(func(e model.Endpoint) bool { return !e.Ready && e.Serving && !e.Terminating }), "serving but unused")
	add(anyEndpoint(func(e model.Endpoint) bool { return e.Ready && e.Terminating }), "ready and terminating")
	add(anyEndpoint(func(e model.Endpoint) bool { return e.ZoneHints != "" }), "hints")
	add(anyEndpoint(func(e model.Endpoint) bool { return e.NodeHints != "" }), "node hints")
	return names
}

func TestRandomHasEverything(t *testing.T) {
	all := []string{
		"ports", "many ports", "unnamed port", "udp", "sctp", "node port", "one number, two protocols", "vip", "external ip",
		"external ip that is the vip", "ranges", "internal local", "external local", "health check", "affinity", "idle",
		"one endpoint", "many endpoints", "very many endpoints", "local endpoint", "draining", "serving but unused",
		"ready and terminating", "hints", "node hints",
	}
	for _, f := range ipproto.Families {
		s := Random(rand.New(rand.NewPCG(1, 2)), f, 300)
		if len(s.Services) != 300 || s.Family != f {
			t.Errorf("%d Services of %v", len(s.Services), s.Family)
		}
		got := map[string]int{}
		vips := map[netip.Addr]int{}
		for _, e := range s.Services {
			for _, name := range features(e) {
				got[name]++
			}
			for _, v := range e.Service.VIPs {
				vips[v]++
			}
		}
		for _, name := range all {
			if got[name] == 0 {
				t.Errorf("%v: no Service has: %s", f, name)
			}
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(vips)), func(n int) bool { return n > 1 }) {
			t.Errorf("%v: no VIP is shared", f)
		}
	}
}

func TestRandomIsAFunctionOfItsSeed(t *testing.T) {
	make := func(seed uint64) model.Snapshot { return Random(rand.New(rand.NewPCG(seed, 0)), ipproto.IPv4, 50) }
	if diff := cmp.Diff(make(1), make(1), compareAddrs); diff != "" {
		t.Errorf("the same seed gives another snapshot (-first +second):\n%s", diff)
	}
	if cmp.Equal(make(1), make(2), compareAddrs) {
		t.Error("another seed gives the same snapshot")
	}
}

func TestRandomIsValid(t *testing.T) {
	seed := rand.Uint64()
	for _, f := range ipproto.Families {
		s := Random(rand.New(rand.NewPCG(seed, 0)), f, 200)
		type socket struct {
			addr  netip.Addr
			proto ipproto.Proto
			port  uint16
		}
		taken := map[socket]model.ServiceName{}
		take := func(name model.ServiceName, one socket) {
			if other, ok := taken[one]; ok && other != name {
				t.Errorf("seed %d: %v and %v both have %v", seed, other, name, one)
			}
			taken[one] = name
		}
		for name, e := range s.Services {
			for _, p := range e.Service.Ports {
				for _, a := range slices.Concat([]netip.Addr{e.Service.ClusterIP}, e.Service.ExternalIPs, e.Service.VIPs) {
					if ipproto.FamilyOf(a) != f {
						t.Errorf("seed %d: %v has %v in %v", seed, name, a, f)
					}
					take(name, socket{a, p.Proto, p.Port})
				}
				if p.NodePort != 0 {
					take(name, socket{proto: p.Proto, port: p.NodePort})
				}
				if p.Port == 0 {
					t.Errorf("seed %d: %v has port zero", seed, name)
				}
			}
			for key, list := range e.Backends {
				if len(list) == 0 || !slices.IsSortedFunc(list, model.CompareEndpoints) {
					t.Errorf("seed %d: %v: endpoints of %v: %v", seed, name, key, list)
				}
			}
		}
	}
}
