package netns

import (
	"net/netip"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/test/netns/lab"
)

// healthCheckNodePorts: a load balancer reaches the health-check node port through a firewall that lets in
// nothing else (TestHealthCheckNodePort).
func healthCheckNodePorts() []table {
	config := func(c *plan.Config) {
		c.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		if c.Detector.PodCIDR.Addr().Is6() {
			c.NodePortAddresses[0] = ipproto.IPv6.Loopback()
		}
	}
	prober, to := from(lab.World, "1.2.3.4"), tcp("192.168.0.2:30000")
	closeInput := func(t *testing.T, s *session) { s.closeInput(t) }
	openInput := func(t *testing.T, s *session) {
		s.iptables(t, "-P", "INPUT", "ACCEPT")
		s.drops = nil
	}
	return []table{{steps: []step{
		{
			cluster: cluster{service("ns1/svc1", "172.30.0.42", loadBalancer("1.2.3.4"), externally("Local"),
				healthCheck(30000), tcpPort("p80", 80, 3001))},
			config: config, prepare: closeInput,
			rows: []row{{id: "H1", from: prober, to: to, want: untouched}},
		},
		// After the Service is deleted no rule takes the packet: it depends on the policy alone.
		{config: config, rows: []row{{id: "H2-closed", from: prober, to: to, want: drop}}},
		{config: config, prepare: openInput, rows: []row{{id: "H2-open", from: prober, to: to, want: untouched}}},
	}}}
}

// closeInput makes the node drop what comes in, but for replies and for what IPv6 needs to find its neighbours.
func (s *session) closeInput(t *testing.T) {
	t.Helper()
	s.iptables(t, "-A", "INPUT", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", ruleset.Accept)
	if s.Family == ipproto.IPv6 {
		s.iptables(t, "-A", "INPUT", "-p", "ipv6-icmp", "-j", ruleset.Accept)
	}
	s.dropByDefault(t, "INPUT")
}
