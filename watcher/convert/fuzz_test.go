package convert

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// The fuzz tests decode any JSON into the object, as the reader of files does. What comes out must hold what
// proxier/model promises; what does not come out must be explained.

func FuzzService(f *testing.F) {
	for _, s := range []*corev1.Service{
		svc(),
		svc(dualStack, kind("LoadBalancer"), etp("Local"), itp("Local"), healthCheck(345), clientIP(ptr(int32(600))),
			external("192.168.099.022", "2001:db8::22"), ingress("1.2.3.4=VIP", "2001:db8::4=Proxy"), ranges(" 203.0.113.0/025", "::/0", "x"),
			ports(corev1.ServicePort{Name: "a", Port: 1, NodePort: 3001}, corev1.ServicePort{Name: "a", Port: 2, Protocol: "UDP"})),
		svc(clusterIPs("")), svc(clientIP(nil)), svc(ports()),
	} {
		f.Add(mustJSON(f, s))
	}
	f.Add([]byte(`{"spec":{"clusterIP":"10.0.0.1","ports":[{}],"sessionAffinity":"ClientIP","sessionAffinityConfig":{}}}`))
	f.Add([]byte(`{"status":{"loadBalancer":{"ingress":[{"ip":"1.2.3.4","ipMode":null}]}},"spec":{"clusterIPs":["",null]}}`))

	f.Fuzz(func(t *testing.T, data []byte) {
		var in corev1.Service
		if json.Unmarshal(data, &in) != nil {
			return
		}
		got, problems := Service(&in)
		checkProblems(t, "Service ", problems)
		if len(got) == 0 && len(problems) == 0 && served(&in) {
			t.Error("the Service is left out without a word")
		}
		var last ipproto.Family
		for _, s := range got {
			f := ipproto.FamilyOf(s.ClusterIP)
			if f <= last {
				t.Errorf("family %v follows %v", f, last)
			}
			last = f
			checkService(t, s, f)
		}
		again, _ := Service(&in)
		if !slices.EqualFunc(got, again, (*model.Service).Equal) {
			t.Error("the same object gives another Service")
		}
	})
}

func checkService(t *testing.T, s *model.Service, f ipproto.Family) {
	t.Helper()
	if !isLabel(s.Name.Namespace) || !isLabel(s.Name.Name) {
		t.Errorf("name %q", s.Name)
	}
	checkAddr(t, s.ClusterIP, f)
	for _, list := range [][]netip.Addr{s.ExternalIPs, s.VIPs} {
		for _, a := range list {
			checkAddr(t, a, f)
		}
		if distinct(list) != len(list) {
			t.Errorf("an address is twice in %v", list)
		}
	}
	if distinct(s.SourceRanges) != len(s.SourceRanges) {
		t.Errorf("a range is twice in %v", s.SourceRanges)
	}
	for _, p := range s.SourceRanges {
		if !p.IsValid() || p != p.Masked() || p.Bits() == 0 || ipproto.FamilyOf(p.Addr()) != f || p.Addr().Is4In6() {
			t.Errorf("range %v in %v", p, f)
		}
	}
	if s.Affinity < 0 || s.Affinity > 24*time.Hour || s.Affinity%time.Second != 0 {
		t.Errorf("affinity %v", s.Affinity)
	}
	if s.HealthCheckNodePort != 0 && !s.ExternalLocal {
		t.Error("a health check without external traffic policy Local")
	}
	if len(s.Ports) == 0 {
		t.Error("there is no port")
	}
	keys, numbers, nodePorts := map[model.PortKey]bool{}, map[model.ServicePort]bool{}, map[model.ServicePort]bool{}
	for _, p := range s.Ports {
		checkPort(t, p.PortKey, p.Port)
		number := model.ServicePort{PortKey: model.PortKey{Proto: p.Proto}, Port: p.Port}
		nodePort := model.ServicePort{PortKey: model.PortKey{Proto: p.Proto}, NodePort: p.NodePort}
		if keys[p.PortKey] || numbers[number] || p.NodePort != 0 && nodePorts[nodePort] {
			t.Errorf("port %+v repeats something in %+v", p, s.Ports)
		}
		keys[p.PortKey], numbers[number], nodePorts[nodePort] = true, true, true
	}
}

func FuzzSlice(f *testing.F) {
	for _, s := range []*discoveryv1.EndpointSlice{
		sliceOf("10.0.0.1", "127.0.0.1", "x"),
		conditions(ptr(false), ptr(true), nil),
		with(sliceOf("fd00::1", "::ffff:10.0.0.1"), func(s *discoveryv1.EndpointSlice) {
			s.AddressType = discoveryv1.AddressTypeIPv6
			s.Endpoints[0].Hints = &discoveryv1.EndpointHints{
				ForZones: []discoveryv1.ForZone{{Name: "b,c"}, {Name: "a"}}, ForNodes: []discoveryv1.ForNode{{}},
			}
			s.Ports = append(s.Ports, port(nil, nil, nil), port(ptr("http"), ptr(int32(1)), nil))
		}),
	} {
		f.Add(mustJSON(f, s))
	}
	f.Add([]byte(`{"addressType":"IPv4","endpoints":[{"addresses":null,"hints":{"forZones":null}},{}],"ports":[{"port":null}]}`))

	f.Fuzz(func(t *testing.T, data []byte) {
		var in discoveryv1.EndpointSlice
		if json.Unmarshal(data, &in) != nil {
			return
		}
		s, problems := Slice(&in, Options{NodeName: "n"})
		checkProblems(t, "EndpointSlice ", problems)
		if s == nil {
			return
		}
		checkSlice(t, s)
		if lost := len(in.Endpoints) - len(s.Addresses) + len(in.Ports) - len(s.Ports); lost != len(problems) {
			t.Errorf("%d items are left out with %d problems", lost, len(problems))
		}
	})
}

func FuzzEndpoints(f *testing.F) {
	f.Add([]byte(`{"metadata":{"namespace":"shop","name":"web"},"subsets":[{"addresses":[{"ip":"10.0.0.1","nodeName":"n"},{"ip":"fd00::1"}],` +
		`"notReadyAddresses":[{"ip":"10.0.0.02"},{"ip":null}],"ports":[{"port":80},{"name":"b","port":81,"protocol":"UDP"}]},{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var in corev1.Endpoints
		if json.Unmarshal(data, &in) != nil {
			return
		}
		parts, problems := Endpoints(&in, Options{NodeName: "n"})
		checkProblems(t, "Endpoints ", problems)
		names := map[model.SliceName]bool{}
		for _, s := range parts {
			checkSlice(t, s)
			if names[s.Name] || isSubdomain(s.Name.Name) {
				t.Errorf("slice %v has the name of another one, or one that an EndpointSlice can have", s.Name)
			}
			names[s.Name] = true
		}
	})
}

func checkSlice(t *testing.T, s *model.Slice) {
	t.Helper()
	if !isLabel(s.Name.Namespace) || s.Name.Namespace != s.Service.Namespace || !isLabel(s.Service.Name) {
		t.Errorf("slice %v of Service %v", s.Name, s.Service)
	}
	keys := map[model.PortKey]bool{}
	for _, p := range s.Ports {
		checkPort(t, p.PortKey, p.Port)
		if keys[p.PortKey] {
			t.Errorf("port %+v is there twice", p)
		}
		keys[p.PortKey] = true
	}
	for _, a := range s.Addresses {
		checkAddr(t, a.Addr, s.Family)
		if a.Addr.IsLinkLocalUnicast() {
			t.Errorf("address %v", a.Addr)
		}
		for _, hints := range []model.Names{a.ZoneHints, a.NodeHints} {
			if model.NewNames(strings.Split(string(hints), ",")...) != hints {
				t.Errorf("hints %q are not canonical", hints)
			}
		}
	}
}

func checkAddr(t *testing.T, a netip.Addr, f ipproto.Family) {
	t.Helper()
	if !a.IsValid() || a.Is4In6() || a.Zone() != "" || ipproto.FamilyOf(a) != f || a.IsUnspecified() || a.IsMulticast() {
		t.Errorf("address %v in %v", a, f)
	}
}

func checkPort(t *testing.T, key model.PortKey, number uint16) {
	t.Helper()
	if number == 0 || key.Proto == ipproto.UnknownProto || key.Name != "" && !isLabel(key.Name) {
		t.Errorf("port %+v %d", key, number)
	}
}

// checkProblems wants each problem to be one line that names an object.
func checkProblems(t *testing.T, object string, problems []model.Problem) {
	t.Helper()
	for _, p := range problems {
		if !strings.HasPrefix(p.Object, object) || p.Text == "" || strings.ContainsAny(p.String(), "\n\r\x00\x1b") {
			t.Errorf("problem %q", p)
		}
	}
}

func distinct[T comparable](list []T) int {
	set := map[T]bool{}
	for _, one := range list {
		set[one] = true
	}
	return len(set)
}

func mustJSON(f *testing.F, object any) []byte {
	f.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		f.Fatal(err)
	}
	return data
}
