package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// sliceOf is the EndpointSlice shop/web-1 of the Service shop/web with port http at 8080.
func sliceOf(addrs ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8080)), Protocol: ptr(corev1.ProtocolTCP)}},
	}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

// with returns the slice after a change.
func with(s *discoveryv1.EndpointSlice, change func(*discoveryv1.EndpointSlice)) *discoveryv1.EndpointSlice {
	change(s)
	return s
}

// conditions is a slice of one endpoint with these conditions; a missing one is nil.
func conditions(ready, serving, terminating *bool) *discoveryv1.EndpointSlice {
	s := sliceOf("10.0.0.1")
	s.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: ready, Serving: serving, Terminating: terminating}
	return s
}

func port(name *string, number *int32, proto *corev1.Protocol) discoveryv1.EndpointPort {
	return discoveryv1.EndpointPort{Name: name, Port: number, Protocol: proto}
}

// describeSlice prints ports and addresses, one line each.
func describeSlice(s *model.Slice) []string {
	if s == nil {
		return nil
	}
	var lines []string
	for _, p := range s.Ports {
		lines = append(lines, fmt.Sprintf("%s:%d/%s", p.Name, p.Port, p.Proto))
	}
	for _, a := range s.Addresses {
		line := a.Addr.String()
		for _, flag := range []struct {
			set  bool
			name string
		}{
			{a.Local, "local"}, {a.Ready, "ready"}, {a.Serving, "serving"}, {a.Terminating, "terminating"},
			{a.ZoneHints != "", "zones=" + string(a.ZoneHints)}, {a.NodeHints != "", "nodes=" + string(a.NodeHints)},
		} {
			if flag.set {
				line += " " + flag.name
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func TestSlice(t *testing.T) {
	yes, no := ptr(true), ptr(false)
	one := []string{"http:8080/tcp", "10.0.0.1 ready serving"}
	for _, test := range []struct {
		name     string
		in       *discoveryv1.EndpointSlice
		want     []string
		problems []string
	}{
		{"nothing", nil, nil, nil},
		{"one endpoint", sliceOf("10.0.0.1"), one, nil},
		{"no endpoints", sliceOf(), []string{"http:8080/tcp"}, nil},

		// Which slices count.
		{"of a headless Service", with(sliceOf("10.0.0.1"), func(s *discoveryv1.EndpointSlice) { s.Labels[corev1.IsHeadlessService] = "" }), nil, nil},
		{"of no Service", with(sliceOf("10.0.0.1"), func(s *discoveryv1.EndpointSlice) { s.Labels = nil }), nil, nil},
		{"of host names", with(sliceOf("web.example"), func(s *discoveryv1.EndpointSlice) { s.AddressType = discoveryv1.AddressTypeFQDN }), nil, nil},
		{
			"of an unknown kind", with(sliceOf("10.0.0.1"), func(s *discoveryv1.EndpointSlice) { s.AddressType = "" }), nil,
			[]string{`addressType: "" is not IPv4, IPv6 or FQDN; the slice is left out`},
		},
		{
			"of a Service that cannot exist", with(sliceOf(), func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelServiceName] = "web.example" }), nil,
			[]string{`metadata.labels[kubernetes.io/service-name]: "web.example" is not a DNS label: want at most 63 of a-z, 0-9 and -, with a letter or digit at both ends; the slice is left out`},
		},
		{
			"with an impossible name", with(sliceOf(), func(s *discoveryv1.EndpointSlice) { s.Name = strings.Repeat("a", 254) }), nil,
			[]string{`metadata.name: "` + strings.Repeat("a", 64) + `…" is not a DNS subdomain: want at most 253 of a-z, 0-9, - and ., with a letter or digit at both ends of each part; the slice is left out`},
		},
		{"with a dotted name", with(sliceOf("10.0.0.1"), func(s *discoveryv1.EndpointSlice) { s.Name = "web.1" }), one, nil},

		// Addresses.
		{
			"bad addresses cost themselves",
			sliceOf("x", "127.0.0.1", "169.254.0.1", "224.0.0.1", "0.0.0.0", "fd00::1", "10.0.0.1", ""),
			one,
			[]string{
				`endpoints[0].addresses[0]: "x" is not an IP address; the endpoint is left out`,
				"endpoints[1].addresses[0]: 127.0.0.1 is a loopback address, which no endpoint may have; the endpoint is left out",
				"endpoints[2].addresses[0]: 169.254.0.1 is a link-local address, which no endpoint may have; the endpoint is left out",
				"endpoints[3].addresses[0]: 224.0.0.1 is a multicast address, which no endpoint may have; the endpoint is left out",
				"endpoints[4].addresses[0]: 0.0.0.0 is the unspecified address, which no endpoint may have; the endpoint is left out",
				"endpoints[5].addresses[0]: fd00::1 is not an IPv4 address; the endpoint is left out",
				`endpoints[7].addresses[0]: "" is not an IP address; the endpoint is left out`,
			},
		},
		{
			"so do those of IPv6",
			with(sliceOf("::1", "fe80::1", "ff02::1", "::", "::ffff:10.0.0.1", "fd00::01"), func(s *discoveryv1.EndpointSlice) { s.AddressType = discoveryv1.AddressTypeIPv6 }),
			[]string{"http:8080/tcp", "fd00::1 ready serving"},
			[]string{
				"endpoints[0].addresses[0]: ::1 is a loopback address, which no endpoint may have; the endpoint is left out",
				"endpoints[1].addresses[0]: fe80::1 is a link-local address, which no endpoint may have; the endpoint is left out",
				"endpoints[2].addresses[0]: ff02::1 is a multicast address, which no endpoint may have; the endpoint is left out",
				"endpoints[3].addresses[0]: :: is the unspecified address, which no endpoint may have; the endpoint is left out",
				"endpoints[4].addresses[0]: 10.0.0.1 is not an IPv6 address; the endpoint is left out",
			},
		},
		{
			"an endpoint without address", with(sliceOf("10.0.0.1", ""), func(s *discoveryv1.EndpointSlice) { s.Endpoints[1].Addresses = nil }), one,
			[]string{"endpoints[1].addresses: there is none; the endpoint is left out"},
		},
		{"only the first address counts", with(sliceOf("10.0.0.1"), func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = []string{"10.0.0.1", "x"} }), one, nil},

		// Conditions, node, hints.
		{"ready defaults to true", conditions(nil, yes, no), one, nil},
		{"serving defaults to true", conditions(yes, nil, no), one, nil},
		{"drains", conditions(no, yes, yes), []string{"http:8080/tcp", "10.0.0.1 serving terminating"}, nil},
		{"dead", conditions(no, no, yes), []string{"http:8080/tcp", "10.0.0.1 terminating"}, nil},
		{"ready and terminating", conditions(yes, yes, yes), []string{"http:8080/tcp", "10.0.0.1 ready serving terminating"}, nil},
		{
			"local", with(sliceOf("10.0.0.1", "10.0.0.2"), func(s *discoveryv1.EndpointSlice) {
				s.Endpoints[0].NodeName, s.Endpoints[1].NodeName = ptr("test-node"), ptr("other")
			}),
			[]string{"http:8080/tcp", "10.0.0.1 local ready serving", "10.0.0.2 ready serving"}, nil,
		},
		{
			"hints", with(sliceOf("10.0.0.1", "10.0.0.2"), func(s *discoveryv1.EndpointSlice) {
				s.Endpoints[0].Hints = &discoveryv1.EndpointHints{
					ForZones: []discoveryv1.ForZone{{Name: "zone-b"}, {Name: "zone-a"}},
					ForNodes: []discoveryv1.ForNode{{Name: "node-1"}},
				}
				s.Endpoints[1].Hints = &discoveryv1.EndpointHints{}
			}),
			[]string{"http:8080/tcp", "10.0.0.1 ready serving zones=zone-a,zone-b nodes=node-1", "10.0.0.2 ready serving"}, nil,
		},

		// Ports.
		{
			"what a port does not say has its default",
			with(sliceOf(), func(s *discoveryv1.EndpointSlice) {
				s.Ports = []discoveryv1.EndpointPort{port(nil, ptr(int32(80)), nil)}
			}),
			[]string{":80/tcp"}, nil,
		},
		{
			"two names may share a number",
			with(sliceOf(), func(s *discoveryv1.EndpointSlice) {
				s.Ports = []discoveryv1.EndpointPort{port(ptr("a"), ptr(int32(80)), nil), port(ptr("b"), ptr(int32(80)), nil)}
			}),
			[]string{"a:80/tcp", "b:80/tcp"}, nil,
		},
		{
			"bad ports cost themselves",
			with(sliceOf(), func(s *discoveryv1.EndpointSlice) {
				s.Ports = []discoveryv1.EndpointPort{
					port(ptr("a"), nil, nil), port(ptr("b"), ptr(int32(0)), nil), port(ptr("c"), ptr(int32(70000)), nil),
					port(ptr("d"), ptr(int32(80)), ptr(corev1.Protocol("QUIC"))), port(ptr("e"), ptr(int32(80)), nil), port(ptr("e"), ptr(int32(81)), nil),
					port(ptr("e"), ptr(int32(80)), ptr(corev1.ProtocolUDP)),
				}
			}),
			[]string{"e:80/tcp", "e:80/udp"},
			[]string{
				"ports[0].port: there is no number, and a proxy cannot serve all ports; the port is left out",
				"ports[1].port: 0 is not a port number from 1 to 65535; the port is left out",
				"ports[2].port: 70000 is not a port number from 1 to 65535; the port is left out",
				`ports[3].protocol: "QUIC" is not TCP, UDP or SCTP; the port is left out`,
				`ports[5].name: "e" is used twice with protocol tcp; the second port is left out`,
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, problems := Slice(test.in, Options{NodeName: "test-node"})
			if diff := cmp.Diff(test.want, describeSlice(got)); diff != "" {
				t.Errorf("slice (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.problems, texts(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if got != nil && (got.Service != model.ServiceName{Namespace: "shop", Name: "web"} || got.Name.Name != test.in.Name) {
				t.Errorf("slice %v of Service %v", got.Name, got.Service)
			}
		})
	}
}

func TestWithoutNodeNameNothingIsLocal(t *testing.T) {
	in := sliceOf("10.0.0.1")
	in.Endpoints[0].NodeName = ptr("")
	if s, _ := Slice(in, Options{}); s.Addresses[0].Local {
		t.Error("an endpoint of a node without name is local to a proxy without node name")
	}
}

func TestEndpoints(t *testing.T) {
	in := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Subsets: []corev1.EndpointSubset{
			{
				Addresses:         []corev1.EndpointAddress{{IP: "10.0.0.1", NodeName: ptr("test-node")}, {IP: "fd00::1"}, {IP: "127.0.0.1"}},
				NotReadyAddresses: []corev1.EndpointAddress{{IP: "10.0.0.2"}, {IP: "x"}},
				Ports:             []corev1.EndpointPort{{Name: "http", Port: 8080}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "bad"}},
			},
			{Ports: []corev1.EndpointPort{{Port: 1}}},
			{Addresses: []corev1.EndpointAddress{{IP: "10.0.0.3"}}, Ports: []corev1.EndpointPort{{Name: "http", Port: 8081}}},
		},
	}
	type part struct {
		Name   string
		Family ipproto.Family
		Lines  []string
	}
	want := []part{
		{"web/ipv4-0", ipproto.IPv4, []string{"http:8080/tcp", "dns:53/udp", "10.0.0.1 local ready serving", "10.0.0.2"}},
		{"web/ipv6-0", ipproto.IPv6, []string{"http:8080/tcp", "dns:53/udp", "fd00::1 ready serving"}},
		{"web/ipv4-2", ipproto.IPv4, []string{"http:8081/tcp", "10.0.0.3 ready serving"}},
	}
	wantProblems := []string{
		"subsets[0].ports[2].port: 0 is not a port number from 1 to 65535; the port is left out",
		"subsets[0].addresses[2].ip: 127.0.0.1 is a loopback address, which no endpoint may have; the endpoint is left out",
		`subsets[0].notReadyAddresses[1].ip: "x" is not an IP address; the endpoint is left out`,
	}
	slices, problems := Endpoints(in, Options{NodeName: "test-node"})
	var got []part
	for _, s := range slices {
		got = append(got, part{s.Name.Name, s.Family, describeSlice(s)})
		if (s.Service != model.ServiceName{Namespace: "shop", Name: "web"}) || s.Name.Namespace != "shop" {
			t.Errorf("slice %v of Service %v", s.Name, s.Service)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slices (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantProblems, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}

	in.Labels = map[string]string{corev1.IsHeadlessService: ""}
	if slices, problems := Endpoints(in, Options{}); slices != nil || problems != nil {
		t.Errorf("endpoints of a headless Service give %v and %v", slices, problems)
	}
	if slices, problems := Endpoints(nil, Options{}); slices != nil || problems != nil {
		t.Errorf("no endpoints give %v and %v", slices, problems)
	}
}
