package plan_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/proxier/trace"
)

// A flow is one row of a table: who sends to what, and where it ends: endpoints in order, with "masq" behind
// those that see the node's address; or REJECT, DROP, ACCEPT; or "-" where no rule takes it.
type flow struct {
	id   string
	from string
	to   string
	want string
}

// check probes the flows with one protocol.
func (c cluster) check(t *testing.T, p ipproto.Proto, flows ...flow) {
	t.Helper()
	rs := c.rules(t)
	for _, f := range flows {
		dst := netip.MustParseAddrPort(f.to)
		src, to, want := addr(f.from), dst.Addr(), f.want
		if c.Family == ipproto.IPv6 {
			src, to, want = six(src), six(to), sixText(want)
		}
		packet := c.packet(src, to, dst.Port(), p)
		if got := c.flow(t, rs, packet); got != want {
			t.Errorf("%s: %s -> %s %v: got %s, want %s\n%s", f.id, src, netip.AddrPortFrom(to, dst.Port()), p, got, want, c.explain(rs, packet))
		}
	}
}

// checkAll probes the flows in both families with each protocol.
func (c cluster) checkAll(t *testing.T, flows ...flow) {
	t.Helper()
	for _, p := range ipproto.Protos {
		t.Run("ipv4 "+p.String(), func(t *testing.T) { c.inProto(p).check(t, p, flows...) })
		t.Run("ipv6 "+p.String(), func(t *testing.T) { c.inProto(p).inIPv6().check(t, p, flows...) })
	}
}

// sixText takes the endpoints in a flow's result over into IPv6.
func sixText(want string) string {
	words := strings.Fields(want)
	for i, w := range words {
		if ap, err := netip.ParseAddrPort(strings.TrimSuffix(w, ",")); err == nil {
			words[i] = netip.AddrPortFrom(six(ap.Addr()), ap.Port()).String()
			if strings.HasSuffix(w, ",") {
				words[i] += ","
			}
		}
	}
	return strings.Join(words, " ")
}

// The tables that follow are those of kube-proxy's iptables mode (pkg/proxy/iptables/proxier_test.go), named
// in each comment.

// TestTracePacket
func TestFlowsOfOverview(t *testing.T) {
	newCluster(
		service("ns1/svc1", "172.30.0.41", port80(0, "10.180.0.1 R")),
		service("ns2/svc2", "172.30.0.42", externalLocal, externalIPs("192.168.99.22"), vips("1.2.3.4"), healthCheck(30000),
			port80(3001, "10.180.0.2 R")),
		service("ns4/svc4", "172.30.0.44", port80(0, "10.180.0.4 R, 10.180.0.5 R")),
		service("ns6/svc6", "172.30.0.46", port80(0, "")),
	).checkAll(t,
		flow{"T1", pod, "10.0.0.3:80", "-"},
		flow{"T2", pod, "172.30.0.41:80", "10.180.0.1:80"},
		flow{"T3", pod, "172.30.0.44:80", "10.180.0.4:80, 10.180.0.5:80"},
		flow{"T4", node, "192.168.99.22:80", "10.180.0.2:80 masq"},
		flow{"T5", ext, "192.168.99.22:80", "DROP"},
		flow{"T7", pod, "172.30.0.46:80", "REJECT"},
	)
}

// TestNoEndpointsReject
func TestFlowsWithoutEndpoints(t *testing.T) {
	newCluster(
		service("ns1/svc1", "172.30.0.41", externalIPs("192.168.99.11"), vips("1.2.3.4"), port80(3001, "")),
	).checkAll(t,
		flow{"N1", pod, "172.30.0.41:80", "REJECT"},
		flow{"N2", ext, "192.168.99.11:80", "REJECT"},
		flow{"N3", pod, "192.168.0.2:3001", "REJECT"},
		flow{"N4", ext, "192.168.0.2:3001", "REJECT"},
		flow{"N5", pod, "1.2.3.4:80", "REJECT"},
		flow{"N6", ext, "1.2.3.4:80", "REJECT"},

		// Which hook a packet passes matters as well: verdicts for outside destinations are not in OUTPUT.
		flow{"K1", node, "1.2.3.4:80", "-"},
		flow{"K2", node, "192.168.0.2:3001", "REJECT"},
		flow{"K3", node, "172.30.0.41:80", "REJECT"},
	)
}

// TestClusterIPGeneral
func TestFlowsToClusterIPs(t *testing.T) {
	const both = "10.180.0.1 Rl, 10.180.2.1 R"
	c := newCluster(
		service("ns1/svc1", "172.30.0.41", port("http", tcp, 80, 0, 80, "10.180.0.1 Rl")),
		service("ns2/svc2", "172.30.0.42",
			port("http", tcp, 80, 0, 80, both),
			port("https", tcp, 443, 0, 8443, both),
			port("dns-udp", udp, 53, 0, 53, both),
			port("dns-tcp", tcp, 53, 0, 5353, both),
			port("dns-sctp", sctp, 53, 0, 53, both)),
	)
	const client = "10.180.0.2"
	for name, c := range map[string]cluster{"ipv4": c, "ipv6": c.inIPv6()} {
		t.Run(name, func(t *testing.T) {
			c.check(t, tcp,
				flow{"C1", client, "172.30.0.41:80", "10.180.0.1:80"},
				flow{"C2", "10.180.0.1", "172.30.0.41:80", "10.180.0.1:80 masq"},
				flow{"C3", client, "172.30.0.42:80", "10.180.0.1:80, 10.180.2.1:80"},
				flow{"C4", client, "172.30.0.42:443", "10.180.0.1:8443, 10.180.2.1:8443"},
				flow{"C5", client, "172.30.0.42:53", "10.180.0.1:5353, 10.180.2.1:5353"},
				flow{"C9", client, "172.30.0.41:443", "-"},
				flow{"hairpin for one of two", "10.180.0.1", "172.30.0.42:80", "10.180.0.1:80 masq, 10.180.2.1:80"},
				flow{"unused port, off-cluster: no mark", ext, "172.30.0.41:443", "-"},
				flow{"unused port, node: no mark", node, "172.30.0.42:444", "-"},
				flow{"address between", ext, "172.30.0.40:80", "-"},
			)
			c.check(t, udp,
				flow{"C6", client, "172.30.0.42:53", "10.180.0.1:53, 10.180.2.1:53"},
				flow{"C8", client, "172.30.0.42:80", "-"},
			)
			c.check(t, sctp, flow{"C7", client, "172.30.0.42:53", "10.180.0.1:53, 10.180.2.1:53"})
		})
	}
}

// TestLoadBalancer
func TestFlowsThroughSourceRanges(t *testing.T) {
	newCluster(
		service("ns1/svc1", "172.30.0.41", vips("1.2.3.4 5.6.7.8"), sourceRanges("192.168.0.0/24 203.0.113.0/25"),
			port80(3001, "10.180.0.1 R")),
	).checkAll(t,
		flow{"L1", pod, "172.30.0.41:80", "10.180.0.1:80"},
		flow{"L2", ext, "192.168.0.2:3001", "10.180.0.1:80 masq"},
		flow{"L3", blk, "192.168.0.2:3001", "10.180.0.1:80 masq"},
		flow{"L4", ext, "1.2.3.4:80", "10.180.0.1:80 masq"},
		flow{"L5", ext, "5.6.7.8:80", "10.180.0.1:80 masq"},
		flow{"L6", blk, "1.2.3.4:80", "DROP"},
		flow{"L7", blk, "5.6.7.8:80", "DROP"},
		flow{"L8", pod, "1.2.3.4:80", "DROP"},
		flow{"L9", pod, "5.6.7.8:80", "DROP"},
		flow{"L10", node, "1.2.3.4:80", "10.180.0.1:80 masq"},
		flow{"L11", node, "5.6.7.8:80", "10.180.0.1:80 masq"},
		flow{"L12", "1.2.3.4", "1.2.3.4:80", "10.180.0.1:80 masq"},
		flow{"L13", "5.6.7.8", "5.6.7.8:80", "10.180.0.1:80 masq"},
		flow{"from the other VIP", "1.2.3.4", "5.6.7.8:80", "10.180.0.1:80 masq"},
		flow{"another port of the VIP", blk, "1.2.3.4:443", "-"},
	)
}

// The VIP may be a source only where the node itself may use the Service; an external IP that equals the VIP
// is not filtered (TestLoadBalancer, and syncProxyRules).
func TestFlowsAroundSourceRanges(t *testing.T) {
	c := newCluster(
		service("ns1/far", "172.30.0.41", vips("1.2.3.4"), sourceRanges("203.0.113.0/25"), port80(0, "10.180.0.1 R")),
		service("ns1/open", "172.30.0.42", vips("5.6.7.8"), externalIPs("5.6.7.8"), sourceRanges("203.0.113.0/25"), port80(0, "10.180.0.2 R")),
		service("ns1/none", "172.30.0.43", vips("9.9.9.9"), sourceRanges("203.0.113.0/25"), port80(0, "")),
	)
	c.checkAll(t,
		flow{"node outside the ranges", node, "1.2.3.4:80", "DROP"},
		flow{"from the VIP, node outside the ranges", "1.2.3.4", "1.2.3.4:80", "DROP"},
		flow{"inside", ext, "1.2.3.4:80", "10.180.0.1:80 masq"},
		flow{"external IP wins over VIP", blk, "5.6.7.8:80", "10.180.0.2:80 masq"},
		flow{"no endpoints, outside", blk, "9.9.9.9:80", "REJECT"},
		flow{"no endpoints, inside", ext, "9.9.9.9:80", "REJECT"},
	)
}

// TestNodePorts
func TestFlowsToNodePorts(t *testing.T) {
	const (
		v4 = "10.180.0.1:80 masq, 10.180.2.1:80 masq"
		v6 = "[fd00:10:180::1]:80 masq, [fd00:10:180::2:1]:80 masq"
	)
	for _, tt := range []struct {
		id        string
		family    ipproto.Family
		localhost bool
		addresses string
		loopback  string // lo -> lo:3001
		alternate string // ext -> the other address of the node
		martian   bool
	}{
		{"NP1", ipproto.IPv4, true, "0.0.0.0/0", v4, v4, true},
		{"NP2", ipproto.IPv4, false, "0.0.0.0/0", "-", v4, false},
		{"NP3", ipproto.IPv4, false, "192.168.0.0/24 127.0.0.1/32", "-", "-", false},
		{"NP3 with localhost on", ipproto.IPv4, true, "192.168.0.0/24 127.0.0.1/32", v4, "-", true},
		{"NP4", ipproto.IPv4, false, "192.168.0.0/24 192.168.1.0/24", "-", v4, false},
		{"NP4 with localhost on, as its title says", ipproto.IPv4, true, "192.168.0.0/24 192.168.1.0/24", "-", v4, false},
		{"NP5", ipproto.IPv6, true, "::/0", "-", v6, false},
		{"NP6", ipproto.IPv6, false, "::/0", "-", v6, false},
		{"NP7", ipproto.IPv6, false, "2001:db8::/64", "-", "-", false},
	} {
		t.Run(tt.id, func(t *testing.T) {
			c, clusterIP, pod, ext, node, other, lo, both := newCluster(), "172.30.0.41", pod, ext, node, "192.168.1.2", lo, v4
			eps := "10.180.0.1 R, 10.180.2.1 Rl"
			if tt.family == ipproto.IPv6 {
				clusterIP, pod, ext, node, other, lo, both = "fd00:172:30::41", "fd00:10::2", "2600:5200::1", "2001:db8::1", "2001:db8:1::2", "::1", v6
				eps = "fd00:10:180::1 R, fd00:10:180::2:1 Rl"
				c.Family, c.Node.IP, c.Node.Addrs = ipproto.IPv6, addr(node), addrs("::1 2001:db8::1 2001:db8:1::2")
				c.Detector.PodCIDR = prefix("fd00:10::/64")
			}
			e := service("ns1/svc1", clusterIP, port80(3001, eps))
			c.Services[e.Service.Name] = e
			c.NodePortAddresses, c.LocalhostNodePorts = prefixes(tt.addresses), tt.localhost

			rs := c.rules(t)
			for _, f := range []struct{ from, to, want string }{
				{pod, clusterIP, strings.ReplaceAll(both, " masq", "")},
				{ext, node, both},
				{node, node, both},
				{lo, lo, tt.loopback},
				{ext, other, tt.alternate},
			} {
				to := netip.AddrPortFrom(addr(f.to), 3001)
				if f.to == clusterIP {
					to = netip.AddrPortFrom(to.Addr(), 80)
				}
				p := c.packet(addr(f.from), to.Addr(), to.Port(), tcp)
				if got := c.flow(t, rs, p); got != f.want {
					t.Errorf("%s -> %s: got %s, want %s\n%s", f.from, to, got, f.want, c.explain(rs, p))
				}
			}
			if got := len(rs[ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Firewall}]) > 0; got != tt.martian {
				t.Errorf("rule against martians: %v, want %v", got, tt.martian)
			}
		})
	}
}

// TestHealthCheckNodePort
func TestFlowsToHealthChecks(t *testing.T) {
	c := newCluster(service("ns1/svc1", "172.30.0.42", externalLocal, healthCheck(30000), port80(3001, "")))
	c.NodePortAddresses = prefixes("127.0.0.0/8")
	c.check(t, tcp, flow{"H1", "1.2.3.4", "192.168.0.2:30000", "ACCEPT"}, flow{"T6", node, "192.168.0.2:30000", "ACCEPT"})
	c.check(t, udp, flow{"H1 by UDP", "1.2.3.4", "192.168.0.2:30000", "-"})

	clear(c.Services)
	c.check(t, tcp, flow{"H2", "1.2.3.4", "192.168.0.2:30000", "-"})
}

// TestExternalTrafficPolicyLocal, TestExternalTrafficPolicyCluster
func TestFlowsByExternalPolicy(t *testing.T) {
	const (
		a, b     = "10.180.0.1:80", "10.180.2.1:80"
		ab, abm  = a + ", " + b, a + " masq, " + b + " masq"
		remote   = "10.180.0.1 R"
		andLocal = remote + ", 10.180.2.1 Rl"
	)
	cluster := func(eps string, options ...func(*model.Entry)) cluster {
		e := service("ns1/svc1", "172.30.0.41", externalIPs("192.168.99.11"), vips("1.2.3.4"), port80(3001, eps))
		for _, o := range options {
			o(&e)
		}
		return newCluster(e)
	}
	t.Run("Local", func(t *testing.T) {
		cluster(andLocal, externalLocal, healthCheck(30000)).checkAll(t,
			flow{"EL1", pod, "172.30.0.41:80", ab},
			flow{"EL2", pod, "192.168.99.11:80", ab},
			flow{"EL3", ext, "192.168.99.11:80", b},
			flow{"EL4", pod, "1.2.3.4:80", ab},
			flow{"EL5", ext, "1.2.3.4:80", b},
			flow{"EL6", pod, "192.168.0.2:3001", ab},
			flow{"EL7", ext, "192.168.0.2:3001", b},
		)
	})
	t.Run("Cluster", func(t *testing.T) {
		cluster(andLocal).checkAll(t,
			flow{"EC1", pod, "172.30.0.41:80", ab},
			flow{"EC2", pod, "192.168.99.11:80", abm},
			flow{"EC3", ext, "192.168.99.11:80", abm},
			flow{"EC4", pod, "1.2.3.4:80", abm},
			flow{"EC5", ext, "1.2.3.4:80", abm},
			flow{"EC6", pod, "192.168.0.2:3001", abm},
			flow{"EC7", ext, "192.168.0.2:3001", abm},
		)
	})
	t.Run("Local without local endpoint", func(t *testing.T) {
		cluster(remote, externalLocal).checkAll(t,
			flow{"cluster IP", ext, "172.30.0.41:80", a + " masq"},
			flow{"pod", pod, "1.2.3.4:80", a},
			flow{"node", node, "1.2.3.4:80", a + " masq"},
			flow{"off-cluster to VIP", ext, "1.2.3.4:80", "DROP"},
			flow{"off-cluster to external IP", ext, "192.168.99.11:80", "DROP"},
			flow{"off-cluster to node port", ext, "192.168.0.2:3001", "DROP"},
			flow{"node to node port", node, "192.168.0.2:3001", a + " masq"},
		)
	})
}

// TestInternalTrafficPolicy
func TestFlowsByInternalPolicy(t *testing.T) {
	for _, tt := range []struct {
		id, eps, want string
		options       []func(*model.Entry)
	}{
		{"I1", "10.0.1.1 Rl, 10.0.1.2 R, 10.0.1.3 R", "10.0.1.1:80, 10.0.1.2:80, 10.0.1.3:80", nil},
		{"I2", "10.0.1.1 Rl, 10.0.1.2 R, 10.0.1.3 R", "10.0.1.1:80", []func(*model.Entry){internalLocal}},
		{"I3", "10.0.1.1 Rl, 10.0.1.2 Rl, 10.0.1.3 R", "10.0.1.1:80, 10.0.1.2:80", []func(*model.Entry){internalLocal}},
		{"I4", "10.0.1.1 R, 10.0.1.2 R, 10.0.1.3 R", "DROP", []func(*model.Entry){internalLocal}},
	} {
		t.Run(tt.id, func(t *testing.T) {
			options := append([]func(*model.Entry){port("", tcp, 80, 0, 80, tt.eps)}, tt.options...)
			c := newCluster(service("ns1/svc1", "172.30.1.1", options...))
			c.checkAll(t, flow{tt.id, pod, "172.30.1.1:80", tt.want})
			c.withoutEndpoints().checkAll(t, flow{tt.id + " without endpoints", pod, "172.30.1.1:80", "REJECT"})
			if tt.id == "I4" {
				c.checkAll(t, flow{"the node is no exception", node, "172.30.1.1:80", "DROP"})
			}
		})
	}
}

// TestTerminatingEndpointsTrafficPolicyLocal, TestTerminatingEndpointsTrafficPolicyCluster
func TestFlowsToTerminatingEndpoints(t *testing.T) {
	for _, tt := range []struct {
		id       string
		external bool // policy Local
		eps      string
		internal string // pod -> cluster IP
		outside  string // ext -> VIP
	}{
		{"DL1", true, "10.0.1.1 Rl, 10.0.1.2 Rl, 10.0.1.3 Dl, 10.0.1.4 Xl, 10.0.1.5 R", "10.0.1.1:80, 10.0.1.2:80, 10.0.1.5:80", "10.0.1.1:80, 10.0.1.2:80"},
		{"DL2", true, "10.0.1.2 Dl, 10.0.1.3 Dl, 10.0.1.4 Xl, 10.0.1.5 R", "10.0.1.5:80", "10.0.1.2:80, 10.0.1.3:80"},
		{"DL3", true, "10.0.1.5 D", "10.0.1.5:80", "DROP"},
		{"DL4", true, "10.0.1.5 Xl", "REJECT", "REJECT"},
		{"DC1", false, "10.0.1.1 Rl, 10.0.1.2 Rl, 10.0.1.3 D, 10.0.1.4 X, 10.0.1.5 R", "10.0.1.1:80, 10.0.1.2:80, 10.0.1.5:80", "10.0.1.1:80 masq, 10.0.1.2:80 masq, 10.0.1.5:80 masq"},
		{"DC2", false, "10.0.1.2 Dl, 10.0.1.3 Dl, 10.0.1.4 X, 10.0.1.5 D", "10.0.1.2:80, 10.0.1.3:80, 10.0.1.5:80", "10.0.1.2:80 masq, 10.0.1.3:80 masq, 10.0.1.5:80 masq"},
		{"DC3", false, "10.0.1.5 D", "10.0.1.5:80", "10.0.1.5:80 masq"},
		{"DC4", false, "10.0.1.5 Xl", "REJECT", "REJECT"},
	} {
		t.Run(tt.id, func(t *testing.T) {
			options := []func(*model.Entry){vips("1.2.3.4"), port("", tcp, 80, 0, 80, tt.eps)}
			if tt.external {
				options = append(options, externalLocal, healthCheck(30000))
			}
			c := newCluster(service("ns1/svc1", "172.30.1.1", options...))
			c.checkAll(t, flow{"P1", pod, "172.30.1.1:80", tt.internal}, flow{"P2", ext, "1.2.3.4:80", tt.outside})
			c.withoutEndpoints().checkAll(t, flow{"P1", pod, "172.30.1.1:80", "REJECT"}, flow{"P2", ext, "1.2.3.4:80", "REJECT"})
		})
	}
}

// TestInternalExternalMasquerade
func TestFlowsMasqueraded(t *testing.T) {
	c := newCluster(
		service("ns1/s1", "172.30.0.41", vips("1.2.3.4"), port80(3001, "10.180.0.1 Rl, 10.180.1.1 R")),
		service("ns2/s2", "172.30.0.42", vips("5.6.7.8"), externalLocal, healthCheck(30001), port80(3002, "10.180.0.2 Rl, 10.180.1.2 R")),
		service("ns3/s3", "172.30.0.43", vips("9.10.11.12"), internalLocal, port80(3003, "10.180.0.3 Rl, 10.180.1.3 R")),
	)
	const host, loopback = "192.168.0.2", "127.0.0.1"
	rows := []struct{ id, from, to, base, noDetector, all, allNoDetector string }{
		{"M1", pod, "172.30.0.41:80", "l1 r1", "l1 r1", "l1m r1m", "l1m r1m"},
		{"M2", pod, host + ":3001", "l1m r1m", "l1m r1m", "l1m r1m", "l1m r1m"},
		{"M3", pod, "1.2.3.4:80", "l1m r1m", "l1m r1m", "l1m r1m", "l1m r1m"},
		{"M4", node, "172.30.0.41:80", "l1m r1m", "l1 r1", "l1m r1m", "l1m r1m"},
		{"M5", node, host + ":3001", "l1m r1m", "l1m r1m", "l1m r1m", "l1m r1m"},
		{"M6", lo, loopback + ":3001", "l1m r1m", "l1m r1m", "l1m r1m", "l1m r1m"},
		{"M7", node, "1.2.3.4:80", "l1m r1m", "l1m r1m", "l1m r1m", "l1m r1m"},
		{"M8", ext, "172.30.0.41:80", "l1m r1m", "l1 r1", "l1m r1m", "l1m r1m"},
		{"M9", ext, host + ":3001", "l1m r1m", "l1m r1m", "l1m r1m", "l1m r1m"},
		{"M10", ext, "1.2.3.4:80", "l1m r1m", "l1m r1m", "l1m r1m", "l1m r1m"},
		{"M11", pod, "172.30.0.42:80", "l2 r2", "l2 r2", "l2m r2m", "l2m r2m"},
		{"M12", pod, host + ":3002", "l2 r2", "l2", "l2 r2", "l2"},
		{"M13", pod, "5.6.7.8:80", "l2 r2", "l2", "l2 r2", "l2"},
		{"M14", node, "172.30.0.42:80", "l2m r2m", "l2 r2", "l2m r2m", "l2m r2m"},
		{"M15", node, host + ":3001", "l1m r1m", "l1m r1m", "l1m r1m", "l1m r1m"},
		{"M15a", node, host + ":3002", "l2m r2m", "l2m r2m", "l2m r2m", "l2m r2m"},
		{"M16", lo, loopback + ":3002", "l2m r2m", "l2m r2m", "l2m r2m", "l2m r2m"},
		{"M17", node, "5.6.7.8:80", "l2m r2m", "l2m r2m", "l2m r2m", "l2m r2m"},
		{"M18", ext, "172.30.0.42:80", "l2m r2m", "l2 r2", "l2m r2m", "l2m r2m"},
		{"M19", ext, host + ":3002", "l2", "l2", "l2", "l2"},
		{"M20", ext, "5.6.7.8:80", "l2", "l2", "l2", "l2"},
		{"M21", pod, "172.30.0.43:80", "l3", "l3", "l3m", "l3m"},
		{"M22", pod, host + ":3003", "l3m r3m", "l3m r3m", "l3m r3m", "l3m r3m"},
		{"M23", pod, "9.10.11.12:80", "l3m r3m", "l3m r3m", "l3m r3m", "l3m r3m"},
		{"M24", node, "172.30.0.43:80", "l3m", "l3", "l3m", "l3m"},
		{"M25", node, host + ":3003", "l3m r3m", "l3m r3m", "l3m r3m", "l3m r3m"},
		{"M26", lo, loopback + ":3003", "l3m r3m", "l3m r3m", "l3m r3m", "l3m r3m"},
		{"M27", node, "9.10.11.12:80", "l3m r3m", "l3m r3m", "l3m r3m", "l3m r3m"},
		{"M28", ext, "172.30.0.43:80", "l3m", "l3", "l3m", "l3m"},
		{"M29", ext, host + ":3003", "l3m r3m", "l3m r3m", "l3m r3m", "l3m r3m"},
		{"M30", ext, "9.10.11.12:80", "l3m r3m", "l3m r3m", "l3m r3m", "l3m r3m"},
	}
	words := strings.NewReplacer(" ", ", ", "m", " masq",
		"l1", "10.180.0.1:80", "r1", "10.180.1.1:80", "l2", "10.180.0.2:80", "r2", "10.180.1.2:80", "l3", "10.180.0.3:80", "r3", "10.180.1.3:80")
	var base, noDetector, all, allNoDetector []flow
	for _, r := range rows {
		base = append(base, flow{r.id, r.from, r.to, words.Replace(r.base)})
		noDetector = append(noDetector, flow{r.id, r.from, r.to, words.Replace(r.noDetector)})
		all = append(all, flow{r.id, r.from, r.to, words.Replace(r.all)})
		allNoDetector = append(allNoDetector, flow{r.id, r.from, r.to, words.Replace(r.allNoDetector)})
	}
	undetected := func(cfg *plan.Config) { cfg.Detector = plan.Detector{} }
	masqueradeAll := func(cfg *plan.Config) { cfg.MasqueradeAll = true }
	for _, tt := range []struct {
		name    string
		cluster cluster
		flows   []flow
	}{
		{"base", c, base},
		{"no detector", c.with(undetected), noDetector},
		{"masqueradeAll", c.with(masqueradeAll), all},
		{"masqueradeAll without detector", c.with(masqueradeAll).with(undetected), allNoDetector},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, p := range ipproto.Protos {
				tt.cluster.inProto(p).check(t, p, tt.flows...)
				six := tt.cluster.inProto(p).inIPv6()
				for _, f := range tt.flows {
					if f.from == lo { // node ports never answer on ::1
						f.want = "-"
					}
					six.check(t, p, f)
				}
			}
		})
	}
}

// What interface a packet came by decides the same as its source address does, and packets of the node's own
// processes came by none.
func TestFlowsWithInterfaceDetector(t *testing.T) {
	for _, detector := range []string{"cali0", "cali+"} {
		newCluster(
			service("ns1/s1", "172.30.0.41", port80(0, "10.180.0.1 Rl, 10.180.1.1 R")),
			service("ns2/s2", "172.30.0.42", vips("5.6.7.8"), externalLocal, port80(0, "10.180.0.2 Rl, 10.180.1.2 R")),
		).with(func(cfg *plan.Config) { cfg.Detector = plan.Detector{Interface: detector} }).checkAll(t,
			flow{"pod to cluster IP", pod, "172.30.0.41:80", "10.180.0.1:80, 10.180.1.1:80"},
			flow{"node to cluster IP", node, "172.30.0.41:80", "10.180.0.1:80 masq, 10.180.1.1:80 masq"},
			flow{"off-cluster to cluster IP", ext, "172.30.0.41:80", "10.180.0.1:80 masq, 10.180.1.1:80 masq"},
			flow{"pod to VIP", pod, "5.6.7.8:80", "10.180.0.2:80, 10.180.1.2:80"},
			flow{"node to VIP", node, "5.6.7.8:80", "10.180.0.2:80 masq, 10.180.1.2:80 masq"},
			flow{"off-cluster to VIP", ext, "5.6.7.8:80", "10.180.0.2:80"},
		)
	}
}

// The firewall of other rules: a FORWARD chain that drops what nobody accepted.
func TestFlowsPastForwardPolicyDrop(t *testing.T) {
	c := newCluster(service("ns1/svc1", "172.30.0.41", port80(3001, "10.180.0.1 R")))
	h := trace.Host{Addrs: c.Node.Addrs, Drops: []ruleset.Chain{{Table: ruleset.Filter, Name: "FORWARD"}}}
	for _, hairpin := range []bool{true, false} {
		c.NoHairpinMatch = !hairpin
		rs := c.rules(t)
		for _, tt := range []struct {
			name     string
			from, to string
			want     trace.Verdict
		}{
			{"K4: masqueraded traffic is let through by its mark", ext, "192.168.0.2:3001", trace.DNAT},
			{"an endpoint that calls itself is let through", "10.180.0.1", "172.30.0.41:80", trace.DNAT},
			{"other pod traffic is for the network plugin to accept", pod, "172.30.0.41:80", trace.Drop},
			{"traffic that is not ours is not let through", ext, "10.0.0.9:80", trace.Drop},
			{"nor what comes from itself without a Service", "10.180.0.1", "10.180.0.1:80", trace.Drop},
		} {
			to := netip.MustParseAddrPort(tt.to)
			r, err := trace.Walk(rs, h, c.packet(addr(tt.from), to.Addr(), to.Port(), tcp))
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Outcomes) != 1 || r.Outcomes[0].Verdict != tt.want {
				t.Errorf("%s: got %v, want %v (hairpin match %v)", tt.name, r.Outcomes, tt.want, hairpin)
			}
		}
		reply := c.packet(addr("10.180.0.1"), addr(ext), 40000, tcp)
		reply.State = ruleset.StateEstablished | ruleset.StateDNAT
		if r, err := trace.Walk(rs, h, reply); err != nil || r.Outcomes[0].Verdict != trace.Accept {
			t.Errorf("reply: got %v, %v, want ACCEPT", r.Outcomes, err)
		}
	}
}

func TestFlowsThatAreNotNew(t *testing.T) {
	c := newCluster(service("ns1/svc1", "172.30.0.41", externalLocal, vips("1.2.3.4"), port80(3001, "10.180.0.1 R")))
	rs := c.rules(t)
	for _, tt := range []struct {
		name     string
		from, to string
		state    ruleset.States
		want     string
	}{
		{"K8: a flow from before the endpoint moved", ext, "1.2.3.4:80", ruleset.StateEstablished, "ACCEPT"},
		{"the same to the node port", ext, "192.168.0.2:3001", ruleset.StateEstablished, "-"},
		{"a new one", ext, "1.2.3.4:80", ruleset.StateNew, "DROP"},
		{"invalid ones are dropped when forwarded", ext, "10.0.0.9:80", ruleset.StateInvalid, "DROP"},
		{"but not when for the node", ext, "192.168.0.2:80", ruleset.StateInvalid, "-"},
		{"K5: a neighbour sends to loopback", "192.168.0.77", "127.0.0.1:8080", ruleset.StateNew, "DROP"},
		{"the node sends to loopback", lo, "127.0.0.1:8080", ruleset.StateNew, "-"},
		{"a neighbour sends to a node port on loopback", "192.168.0.77", "127.0.0.1:3001", ruleset.StateNew, "DROP"},
	} {
		to := netip.MustParseAddrPort(tt.to)
		p := c.packet(addr(tt.from), to.Addr(), to.Port(), tcp)
		p.State = tt.state
		if got := c.flow(t, rs, p); got != tt.want {
			t.Errorf("%s: got %s, want %s\n%s", tt.name, got, tt.want, c.explain(rs, p))
		}
	}
	c.DropInvalid = false
	rs = c.rules(t)
	p := c.packet(addr(ext), addr("10.0.0.9"), 80, tcp)
	p.State = ruleset.StateInvalid
	if got := c.flow(t, rs, p); got != "-" {
		t.Errorf("invalid packet with DropInvalid off: got %s", got)
	}
}

// With affinity, a client gets the endpoint again that it had; who had none is balanced, and remembered by the
// name that kube-proxy gives to the list.
func TestFlowsWithAffinity(t *testing.T) {
	c := newCluster(service("ns1/svc1", "172.30.0.41", affinity(600), vips("1.2.3.4"), externalLocal,
		port80(0, "10.180.0.1 Rl, 10.180.0.2 Rl, 10.180.0.3 R")))
	rs := c.rules(t)
	list := func(ep string) string { return ruleset.PrefixEndpoint + ruleset.Hash("ns1/svc1:p80tcp", ep) }
	for _, tt := range []struct {
		name     string
		from, to string
		had      string
		want     string
	}{
		{"first time", pod, "172.30.0.41:80", "", "10.180.0.1:80, 10.180.0.2:80, 10.180.0.3:80"},
		{"again", pod, "172.30.0.41:80", "10.180.0.2:80", "10.180.0.2:80"},
		{"one list for all addresses", pod, "1.2.3.4:80", "10.180.0.3:80", "10.180.0.3:80"},
		{"local policy", ext, "1.2.3.4:80", "10.180.0.2:80", "10.180.0.2:80"},
		{"local policy does not know remote endpoints", ext, "1.2.3.4:80", "10.180.0.3:80", "10.180.0.1:80, 10.180.0.2:80"},
		{"an endpoint that is gone", pod, "172.30.0.41:80", "10.180.0.9:80", "10.180.0.1:80, 10.180.0.2:80, 10.180.0.3:80"},
	} {
		p := c.packet(addr(tt.from), netip.MustParseAddrPort(tt.to).Addr(), 80, tcp)
		p.Recent = map[string]bool{list(tt.had): true}
		if got := c.flow(t, rs, p); got != tt.want {
			t.Errorf("%s: got %s, want %s\n%s", tt.name, got, tt.want, c.explain(rs, p))
		}
		r, err := trace.Walk(rs, trace.Host{Addrs: c.Node.Addrs}, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range r.Outcomes {
			for _, path := range o.Paths {
				if len(path.Remembers) != 1 || path.Remembers[0] != list(o.To.String()) {
					t.Errorf("%s: %v is remembered in %v, want %s", tt.name, o, path.Remembers, list(o.To.String()))
				}
			}
		}
	}
}

// However many endpoints there are, the choice is uniform, and a packet pays for few of them.
func TestFlowsToManyEndpoints(t *testing.T) {
	for _, tt := range []struct{ n, worst int }{{1, 20}, {2, 20}, {3, 20}, {33, 60}, {64, 90}, {65, 90}, {150, 90}, {1000, 130}, {5000, 180}} {
		t.Run(fmt.Sprint(tt.n), func(t *testing.T) {
			key := model.PortKey{Proto: tcp}
			e := service("shop/web", "172.30.0.41", port("", tcp, 80, 0, 80, ""))
			for i := range tt.n {
				a := netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)})
				e.Backends[key] = append(e.Backends[key], model.Endpoint{Addr: netip.AddrPortFrom(a, 8080), Ready: true, Serving: true})
			}
			slices.SortFunc(e.Backends[key], model.CompareEndpoints)
			c := newCluster(e)
			r, err := trace.Walk(c.rules(t), trace.Host{Addrs: c.Node.Addrs}, c.packet(addr(pod), e.Service.ClusterIP, 80, tcp))
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Outcomes) != tt.n {
				t.Errorf("%d outcomes, want %d", len(r.Outcomes), tt.n)
			}
			for _, o := range r.Outcomes {
				if p := o.Probability * float64(tt.n); p < 1-1e-6 || p > 1+1e-6 {
					t.Errorf("%v: %.9f times what it should be", o, p)
				}
			}
			if got := r.Worst(); got > tt.worst {
				t.Errorf("a packet is compared with up to %d rules, want at most %d", got, tt.worst)
			}
		})
	}
}
