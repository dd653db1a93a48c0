package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/proxier/model"
)

func ptr[T any](v T) *T { return &v }

// svc is the Service shop/web with one port, at 172.30.0.41, and what the edits make of it.
func svc(edits ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type:       corev1.ServiceTypeClusterIP,
			ClusterIP:  "172.30.0.41",
			ClusterIPs: []string{"172.30.0.41"},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:      []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

// The edits.

type edit = func(*corev1.Service)

func dualStack(s *corev1.Service) {
	s.Spec.ClusterIPs = []string{"172.30.0.41", "fd00:172:30::41"}
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
}

func kind(k corev1.ServiceType) edit { return func(s *corev1.Service) { s.Spec.Type = k } }

func spec(change func(*corev1.ServiceSpec)) edit {
	return func(s *corev1.Service) { change(&s.Spec) }
}

func clusterIPs(first string, all ...string) edit {
	return spec(func(s *corev1.ServiceSpec) { s.ClusterIP, s.ClusterIPs = first, all })
}

func families(f ...corev1.IPFamily) edit {
	return spec(func(s *corev1.ServiceSpec) { s.IPFamilies = f })
}

func external(ips ...string) edit {
	return spec(func(s *corev1.ServiceSpec) { s.ExternalIPs = ips })
}

func ranges(r ...string) edit {
	return spec(func(s *corev1.ServiceSpec) { s.LoadBalancerSourceRanges = r })
}

func etp(p corev1.ServiceExternalTrafficPolicy) edit {
	return spec(func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = p })
}

func itp(p corev1.ServiceInternalTrafficPolicy) edit {
	return spec(func(s *corev1.ServiceSpec) { s.InternalTrafficPolicy = &p })
}

func healthCheck(port int32) edit {
	return spec(func(s *corev1.ServiceSpec) { s.HealthCheckNodePort = port })
}

func ports(p ...corev1.ServicePort) edit {
	return spec(func(s *corev1.ServiceSpec) { s.Ports = p })
}

func clientIP(seconds *int32) edit {
	return spec(func(s *corev1.ServiceSpec) {
		s.SessionAffinity = corev1.ServiceAffinityClientIP
		s.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: seconds}}
	})
}

// ingress is the load balancer's status; an IP may be followed by "=" and its ipMode.
func ingress(entries ...string) edit {
	return func(s *corev1.Service) {
		for _, e := range entries {
			ip, mode, hasMode := strings.Cut(e, "=")
			in := corev1.LoadBalancerIngress{IP: ip}
			if hasMode {
				in.IPMode = ptr(corev1.LoadBalancerIPMode(mode))
			}
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, in)
		}
	}
}

// describe prints a Service as one line, without what has its zero value.
func describe(s *model.Service) string {
	words := []string{s.ClusterIP.String()}
	for _, p := range s.Ports {
		word := fmt.Sprintf("%s:%d/%s", p.Name, p.Port, p.Proto)
		if p.NodePort != 0 {
			word += fmt.Sprintf("@%d", p.NodePort)
		}
		words = append(words, word)
	}
	for _, list := range []struct {
		name  string
		texts string
		empty bool
	}{
		{"external", fmt.Sprint(s.ExternalIPs), len(s.ExternalIPs) == 0},
		{"vips", fmt.Sprint(s.VIPs), len(s.VIPs) == 0},
		{"from", fmt.Sprint(s.SourceRanges), len(s.SourceRanges) == 0},
		{"affinity", s.Affinity.String(), s.Affinity == 0},
		{"etp", "local", !s.ExternalLocal},
		{"itp", "local", !s.InternalLocal},
		{"health", fmt.Sprint(s.HealthCheckNodePort), s.HealthCheckNodePort == 0},
	} {
		if !list.empty {
			words = append(words, list.name+"="+list.texts)
		}
	}
	return strings.Join(words, " ")
}

func TestService(t *testing.T) {
	const plain = "172.30.0.41 http:80/tcp"
	const plain6 = "fd00:172:30::41 http:80/tcp"
	const affinityField = "spec.sessionAffinityConfig.clientIP.timeoutSeconds: "
	for _, test := range []struct {
		name     string
		in       *corev1.Service
		want     []string
		problems []string
	}{
		{"nothing", nil, nil, nil},
		{"cluster IP", svc(), []string{plain}, nil},
		{"both families", svc(dualStack), []string{plain, plain6}, nil},
		{"IPv6 first", svc(clusterIPs("fd00:172:30::41", "fd00:172:30::41", "172.30.0.41"), families("IPv6", "IPv4")), []string{plain, plain6}, nil},
		{"IPv6 alone", svc(clusterIPs("fd00:172:30::41", "fd00:172:30::41"), families("IPv6")), []string{plain6}, nil},

		// Who is served at all.
		{"headless", svc(clusterIPs("None", "None")), nil, nil},
		{"headless without ports", svc(clusterIPs("None", "None"), ports()), nil, nil},
		{"headless, said only in the list", svc(clusterIPs("", "None")), nil, nil},
		{"external name", svc(kind(corev1.ServiceTypeExternalName)), nil, nil},
		{"external name without address", svc(kind(corev1.ServiceTypeExternalName), clusterIPs("")), nil, nil},
		{"of another proxy", svc(func(s *corev1.Service) { s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": ""} }), nil, nil},

		// Cluster IPs.
		{"an old object has no families", svc(clusterIPs("172.30.0.41"), families()), []string{plain}, nil},
		{"an old object has one address", svc(clusterIPs("172.30.0.41", "172.30.0.41", "fd00::1"), families()), []string{plain}, nil},
		{"more addresses than families", svc(clusterIPs("172.30.0.41", "172.30.0.41", "fd00::1")), []string{plain}, nil},
		{
			"no address", svc(clusterIPs("")), nil,
			[]string{"spec.clusterIP: there is no address, and only an API server could assign one; the Service is left out"},
		},
		{
			"an unreadable address", svc(clusterIPs("172.30.0", "172.30.0")), nil,
			[]string{`spec.clusterIPs[0]: "172.30.0" is not an IP address; the Service has no rules for its family`},
		},
		{
			"the other address is still good", svc(dualStack, clusterIPs("x", "x", "fd00:172:30::41")), []string{plain6},
			[]string{`spec.clusterIPs[0]: "x" is not an IP address; the Service has no rules for its family`},
		},
		{
			"an address of another family than said", svc(clusterIPs("fd00::1", "fd00::1")), nil,
			[]string{`spec.clusterIPs[0]: fd00::1 is not of the family "IPv4" that spec.ipFamilies says; the address is left out`},
		},
		{
			"two addresses of a family",
			svc(clusterIPs("172.30.0.41", "172.30.0.41", "172.30.0.42"), families("IPv4", "IPv4")), []string{plain},
			[]string{"spec.clusterIPs[1]: 172.30.0.42 is the second address of its family; it is left out"},
		},
		{
			"loopback", svc(clusterIPs("127.0.0.1", "127.0.0.1")), nil,
			[]string{"spec.clusterIPs[0]: 127.0.0.1 is a loopback address; the Service has no rules for its family"},
		},
		{"link-local service networks exist", svc(clusterIPs("169.254.3.4", "169.254.3.4")), []string{"169.254.3.4 http:80/tcp"}, nil},
		{"IPv4 mapped into IPv6 is IPv4", svc(clusterIPs("::ffff:172.30.0.41", "::ffff:172.30.0.41")), []string{plain}, nil},

		// Names.
		{
			"a name that would break a comment", svc(func(s *corev1.Service) { s.Name = "a\" -j ACCEPT\n" }), nil,
			[]string{`metadata.name: "a\" -j ACCEPT\n" is not a DNS label: want at most 63 of a-z, 0-9 and -, with a letter or digit at both ends; the Service is left out`},
		},
		{
			"no namespace", svc(func(s *corev1.Service) { s.Namespace = "" }), nil,
			[]string{
				`metadata.namespace: "" is not a DNS label: want at most 63 of a-z, 0-9 and -, with a letter or digit at both ends; the Service is left out`,
			},
		},
		{
			"a name that is too long", svc(func(s *corev1.Service) { s.Name = strings.Repeat("a", 64) }), nil,
			[]string{`metadata.name: "` + strings.Repeat("a", 64) + `" is not a DNS label: want at most 63 of a-z, 0-9 and -, with a letter or digit at both ends; the Service is left out`},
		},
		{"a name may start with a digit", svc(func(s *corev1.Service) { s.Name = "0-web" }), []string{plain}, nil},

		// Ports.
		{
			"ports keep their order",
			svc(ports(corev1.ServicePort{Name: "b", Port: 53, Protocol: "UDP", NodePort: 30053}, corev1.ServicePort{Name: "a", Port: 53, Protocol: "TCP"}, corev1.ServicePort{Name: "s", Port: 1, Protocol: "SCTP"})),
			[]string{"172.30.0.41 b:53/udp@30053 a:53/tcp s:1/sctp"}, nil,
		},
		{"an unnamed port", svc(ports(corev1.ServicePort{Port: 80})), []string{"172.30.0.41 :80/tcp"}, nil},
		{"a node port counts without the type", svc(ports(corev1.ServicePort{Port: 80, NodePort: 3001})), []string{"172.30.0.41 :80/tcp@3001"}, nil},
		{"no ports", svc(ports()), nil, []string{"spec.ports: there is no usable port; the Service is left out"}},
		{
			"a bad port costs that port",
			svc(ports(corev1.ServicePort{Name: "a", Port: 0}, corev1.ServicePort{Name: "b", Port: 65536}, corev1.ServicePort{Name: "c", Port: 65535},
				corev1.ServicePort{Name: "D!", Port: 1}, corev1.ServicePort{Name: "e", Port: 1, Protocol: "ICMP"})),
			[]string{"172.30.0.41 c:65535/tcp"},
			[]string{
				"spec.ports[0].port: 0 is not a port number from 1 to 65535; the port is left out",
				"spec.ports[1].port: 65536 is not a port number from 1 to 65535; the port is left out",
				`spec.ports[3].name: "D!" is not a DNS label: want at most 63 of a-z, 0-9 and -, with a letter or digit at both ends; the port is left out`,
				`spec.ports[4].protocol: "ICMP" is not TCP, UDP or SCTP; the port is left out`,
			},
		},
		{
			"duplicates",
			svc(ports(corev1.ServicePort{Name: "a", Port: 1, NodePort: 3001}, corev1.ServicePort{Name: "a", Port: 2}, corev1.ServicePort{Name: "b", Port: 1},
				corev1.ServicePort{Name: "c", Port: 3, NodePort: 3001}, corev1.ServicePort{Name: "a", Port: 1, Protocol: "UDP", NodePort: 3001})),
			[]string{"172.30.0.41 a:1/tcp@3001 c:3/tcp a:1/udp@3001"},
			[]string{
				`spec.ports[1].name: "a" is used twice with protocol tcp; the second port is left out`,
				"spec.ports[2].port: 1 is used twice with protocol tcp; the second port is left out",
				"spec.ports[3].nodePort: 3001 is used twice with protocol tcp; the second port has no node port",
			},
		},
		{
			"a bad node port costs the node port", svc(ports(corev1.ServicePort{Port: 80, NodePort: -1})), []string{"172.30.0.41 :80/tcp"},
			[]string{"spec.ports[0].nodePort: -1 is not a port number from 1 to 65535; the port has no node port"},
		},

		// External IPs, VIPs and source ranges.
		{
			"each family keeps its own addresses",
			svc(dualStack, external("192.168.99.22", "2001:db8::22", "192.168.99.22", ""), ingress("1.2.3.4", "2001:db8::4"), ranges("203.0.113.0/25", "2001:db8:1::/64")),
			[]string{
				plain + " external=[192.168.99.22] vips=[1.2.3.4] from=[203.0.113.0/25]",
				plain6 + " external=[2001:db8::22] vips=[2001:db8::4] from=[2001:db8:1::/64]",
			}, nil,
		},
		{"VIPs need no type", svc(ingress("1.2.3.4", "1.2.3.4", "5.6.7.8")), []string{plain + " vips=[1.2.3.4 5.6.7.8]"}, nil},
		{"ipMode VIP", svc(ingress("1.2.3.4=VIP")), []string{plain + " vips=[1.2.3.4]"}, nil},
		{"ipMode Proxy", svc(ingress("1.2.3.4=Proxy")), []string{plain}, nil},
		{
			"unknown ipMode", svc(ingress("1.2.3.4=Tunnel")), []string{plain},
			[]string{`status.loadBalancer.ingress[0].ipMode: "Tunnel" is unknown; the address is left out`},
		},
		{"a host name is no VIP", svc(func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "lb.example"}}
		}), []string{plain}, nil},
		{
			"bad addresses cost themselves", svc(external("x", "192.168.99.22", "127.0.0.1", "169.254.0.1", "0.0.0.0"), ingress("y", "1.2.3.4", "224.0.0.1")),
			[]string{plain + " external=[192.168.99.22] vips=[1.2.3.4]"},
			[]string{
				`spec.externalIPs[0]: "x" is not an IP address; it is left out`,
				"spec.externalIPs[2]: 127.0.0.1 is a loopback address; it is left out",
				"spec.externalIPs[3]: 169.254.0.1 is a link-local address; it is left out",
				"spec.externalIPs[4]: 0.0.0.0 is the unspecified address; it is left out",
				`status.loadBalancer.ingress[0].ip: "y" is not an IP address; it is left out`,
				"status.loadBalancer.ingress[2].ip: 224.0.0.1 is a multicast address; it is left out",
			},
		},
		{"ranges are trimmed and masked", svc(ingress("1.2.3.4"), ranges(" 203.0.113.7/25", "\t1.2.3.4/28 ", "1.2.3.0/28", "")), []string{plain + " vips=[1.2.3.4] from=[203.0.113.0/25 1.2.3.0/28]"}, nil},
		{"a range of all addresses is no restriction", svc(dualStack, ingress("1.2.3.4"), ranges("203.0.113.0/25", "0.0.0.0/0", "2001:db8::/32")), []string{plain + " vips=[1.2.3.4]", plain6 + " from=[2001:db8::/32]"}, nil},
		{"ranges of one family leave the other open", svc(dualStack, ingress("1.2.3.4", "2001:db8::4"), ranges("203.0.113.0/25")), []string{plain + " vips=[1.2.3.4] from=[203.0.113.0/25]", plain6 + " vips=[2001:db8::4]"}, nil},
		{
			"a bad range costs itself", svc(ingress("1.2.3.4"), ranges("203.0.113.0/25", "203.0.113.0/33")),
			[]string{plain + " vips=[1.2.3.4] from=[203.0.113.0/25]"},
			[]string{`spec.loadBalancerSourceRanges[1]: "203.0.113.0/33" is not a CIDR; it is left out`},
		},
		{
			"a bad range does not admit everybody", svc(external("192.168.99.22"), ingress("1.2.3.4"), ranges("203.0.113.0/33")),
			[]string{plain + " external=[192.168.99.22]"},
			[]string{
				`spec.loadBalancerSourceRanges[0]: "203.0.113.0/33" is not a CIDR; it is left out`,
				"spec.loadBalancerSourceRanges: no readable range is left for IPv4, which would admit everybody; the IPv4 load-balancer addresses are left out",
			},
		},

		// Policies, affinity, health checks.
		{"internal policy Local", svc(itp("Local")), []string{plain + " itp=local"}, nil},
		{"internal policy Cluster", svc(itp("Cluster")), []string{plain}, nil},
		{"unknown internal policy", svc(itp("Zone")), []string{plain}, []string{`spec.internalTrafficPolicy: "Zone" is unknown; it is treated as Cluster`}},
		{"external policy Local does not count for a cluster IP", svc(etp("Local")), []string{plain}, nil},
		{"external policy Local counts with an external IP", svc(etp("Local"), external("192.168.99.22")), []string{plain + " external=[192.168.99.22] etp=local"}, nil},
		{"external policy Local counts with an external IP of the other family", svc(etp("Local"), external("2001:db8::22")), []string{plain + " etp=local"}, nil},
		{"external policy Local counts for a node port", svc(etp("Local"), kind("NodePort")), []string{plain + " etp=local"}, nil},
		{"a node port has no health check", svc(etp("Local"), kind("NodePort"), healthCheck(345)), []string{plain + " etp=local"}, nil},
		{"a load balancer with policy Local has a health check", svc(dualStack, etp("Local"), kind("LoadBalancer"), healthCheck(345)), []string{plain + " etp=local health=345", plain6 + " etp=local health=345"}, nil},
		{"with policy Cluster it has none", svc(etp("Cluster"), kind("LoadBalancer"), healthCheck(345)), []string{plain}, nil},
		{
			"a health check at port zero", svc(etp("Local"), kind("LoadBalancer")), []string{plain + " etp=local"},
			[]string{"spec.healthCheckNodePort: it is zero although the external traffic policy is Local; load balancers cannot ask this node for its endpoints"},
		},
		{
			"a health check at an impossible port", svc(etp("Local"), kind("LoadBalancer"), healthCheck(-7)), []string{plain + " etp=local"},
			[]string{"spec.healthCheckNodePort: -7 is not a port number from 1 to 65535; load balancers cannot ask this node for its endpoints"},
		},
		{"unknown external policy", svc(etp("Global"), kind("NodePort")), []string{plain}, []string{`spec.externalTrafficPolicy: "Global" is unknown; it is treated as Cluster`}},
		{"unknown type", svc(etp("Local"), kind("Magic")), []string{plain}, []string{`spec.type: "Magic" is unknown; the Service is treated as ClusterIP`}},
		{"no type", svc(etp("Local"), kind("")), []string{plain}, nil},
		{"affinity", svc(clientIP(ptr(int32(600)))), []string{plain + " affinity=10m0s"}, nil},
		{"affinity of a day", svc(clientIP(ptr(int32(86400)))), []string{plain + " affinity=24h0m0s"}, nil},
		{"affinity without a timeout", svc(clientIP(nil)), []string{plain + " affinity=3h0m0s"}, nil},
		{"affinity without a client IP", svc(clientIP(nil), spec(func(s *corev1.ServiceSpec) { s.SessionAffinityConfig.ClientIP = nil })), []string{plain + " affinity=3h0m0s"}, nil},
		{"affinity without a configuration", svc(clientIP(nil), spec(func(s *corev1.ServiceSpec) { s.SessionAffinityConfig = nil })), []string{plain + " affinity=3h0m0s"}, nil},
		{"no affinity, though configured", svc(clientIP(ptr(int32(600))), spec(func(s *corev1.ServiceSpec) { s.SessionAffinity = "None" })), []string{plain}, nil},
		{"unknown affinity", svc(spec(func(s *corev1.ServiceSpec) { s.SessionAffinity = "Cookie" })), []string{plain}, []string{`spec.sessionAffinity: "Cookie" is unknown; the Service has no affinity`}},
		{"affinity for too long", svc(clientIP(ptr(int32(86401)))), []string{plain + " affinity=24h0m0s"}, []string{affinityField + "86401 is more than a day; clients keep their endpoint for 86400 s"}},
		{"affinity for no time", svc(clientIP(ptr(int32(0)))), []string{plain + " affinity=3h0m0s"}, []string{affinityField + "0 is less than 1; clients keep their endpoint for 10800 s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			services, problems := Service(test.in)
			var got []string
			for _, s := range services {
				got = append(got, describe(s))
				if want := (model.ServiceName{Namespace: test.in.Namespace, Name: test.in.Name}); s.Name != want {
					t.Errorf("name %v, want %v", s.Name, want)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Services (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.problems, texts(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// texts returns what the problems say, without their object.
func texts(problems []model.Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.Text)
	}
	return all
}

func TestProblemsNameTheObject(t *testing.T) {
	for want, in := range map[string]*corev1.Service{
		"Service shop/web":       svc(ports()),
		"Service web":            svc(func(s *corev1.Service) { s.Namespace = "" }),
		`Service "shop/a\nb"`:    svc(func(s *corev1.Service) { s.Name = "a\nb" }),
		`Service ""`:             svc(func(s *corev1.Service) { s.Namespace, s.Name = "", "" }),
		`Service "shop/\"quo\""`: svc(func(s *corev1.Service) { s.Name = `"quo"` }),
	} {
		if _, problems := Service(in); len(problems) == 0 || problems[0].Object != want {
			t.Errorf("problems %v, want them of %s", problems, want)
		}
	}
}

// TestBadIPs has the addresses of objects that were stored before the API server refused zeros in front.
func TestBadIPs(t *testing.T) {
	services, problems := Service(svc(
		clusterIPs("172.30.0.041", "172.30.0.041"), external("192.168.099.022"), ingress("1.2.3.004"), ranges("203.0.113.000/025"),
	))
	const want = "172.30.0.41 http:80/tcp external=[192.168.99.22] vips=[1.2.3.4] from=[203.0.113.0/25]"
	if len(services) != 1 || describe(services[0]) != want || len(problems) > 0 {
		t.Errorf("got %v and %v, want %s", services, problems, want)
	}
	slice, problems := Slice(sliceOf("10.180.00.001"), Options{})
	if len(slice.Addresses) != 1 || slice.Addresses[0].Addr.String() != "10.180.0.1" || len(problems) > 0 {
		t.Errorf("got %v and %v, want the endpoint 10.180.0.1", slice, problems)
	}
}

// TestPortRemoved is a row of the reference's service map tests: the other ports stay.
func TestPortRemoved(t *testing.T) {
	both, _ := Service(svc(ports(corev1.ServicePort{Name: "a", Port: 1}, corev1.ServicePort{Name: "b", Port: 2})))
	one, _ := Service(svc(ports(corev1.ServicePort{Name: "b", Port: 2})))
	if both[0].Equal(one[0]) || describe(one[0]) != "172.30.0.41 b:2/tcp" {
		t.Errorf("got %s and %s", describe(both[0]), describe(one[0]))
	}
}

// TestWhatDoesNotMatterIsNoChange: most writes to Services are of this kind.
func TestWhatDoesNotMatterIsNoChange(t *testing.T) {
	before, _ := Service(svc(dualStack))
	after, _ := Service(svc(dualStack, func(s *corev1.Service) {
		s.ResourceVersion, s.Labels, s.Annotations = "7", map[string]string{"a": "b"}, map[string]string{"a": "b"}
		s.Spec.Selector, s.Spec.AllocateLoadBalancerNodePorts = map[string]string{"a": "b"}, ptr(false)
	}))
	for i := range before {
		if !before[i].Equal(after[i]) {
			t.Errorf("%s became %s", describe(before[i]), describe(after[i]))
		}
	}
}
