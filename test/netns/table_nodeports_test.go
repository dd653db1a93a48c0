package netns

import (
	"net/netip"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/test/netns/lab"
)

// nodePorts: where node ports answer depends on the node-port addresses and, for loopback, on the localhost
// setting, and what guards loopback against neighbours is there exactly when loopback is open (TestNodePorts).
func nodePorts() []table {
	both := []string{"10.180.0.1:80", "10.180.2.1:80"}
	open, closed := masq(both...), untouched
	cases := []struct {
		id        string
		family    ipproto.Family
		localhost bool
		addresses []string
		// What comes of a packet to the node port of the loopback address and of the node's other address.
		toLoopback, toAlternate outcome
		guarded                 bool
	}{
		{id: "NP1", family: ipproto.IPv4, localhost: true, toLoopback: open, toAlternate: open, guarded: true},
		{id: "NP2", family: ipproto.IPv4, toLoopback: closed, toAlternate: open},
		{
			id: "NP3", family: ipproto.IPv4, addresses: []string{"192.168.0.0/24", "127.0.0.1/32"},
			toLoopback: closed, toAlternate: closed,
		},
		{
			id: "NP4", family: ipproto.IPv4, addresses: []string{"192.168.0.0/24", "192.168.1.0/24", "2001:db8::/64"},
			toLoopback: closed, toAlternate: open,
		},
		{id: "NP5", family: ipproto.IPv6, localhost: true, toLoopback: closed, toAlternate: open},
		{id: "NP6", family: ipproto.IPv6, toLoopback: closed, toAlternate: open},
		{
			id: "NP7", family: ipproto.IPv6, addresses: []string{"192.168.0.0/24", "192.168.1.0/24", "2001:db8::/64"},
			toLoopback: closed, toAlternate: closed,
		},
	}
	var tables []table
	for _, c := range cases {
		config := func(p *plan.Config) {
			p.LocalhostNodePorts = c.localhost
			if listed := prefixesOf(c.family, c.addresses); len(listed) > 0 {
				p.NodePortAddresses = listed
			}
			if c.family == ipproto.IPv6 {
				p.Detector.PodCIDR = netip.MustParsePrefix("fd00:10::/64")
			}
		}
		tables = append(tables, table{families: []ipproto.Family{c.family}, steps: []step{{
			cluster: cluster{
				service("ns1/svc1", "172.30.0.41", nodePort, tcpPort("p80", 80, 3001)),
				slice("ns1/svc1", target("p80", 80), "10.180.0.1", "10.180.2.1 local"),
			},
			config: config,
			rows: []row{
				{id: c.id + "-clusterip", from: pod, to: tcp("172.30.0.41:80"), want: plain(both...)},
				{id: c.id + "-nodeport", from: external, to: tcp("192.168.0.2:3001"), want: open},
				{id: c.id + "-node", from: node, to: tcp("192.168.0.2:3001"), want: open},
				{id: c.id + "-loopback", from: loopback, to: tcp("127.0.0.1:3001"), want: c.toLoopback},
				{id: c.id + "-alternate", from: external, to: tcp("192.168.1.2:3001"), want: c.toAlternate},
				{id: c.id + "-guard", check: guard(c.guarded)},
			},
		}}})
	}
	return tables
}

func prefixesOf(f ipproto.Family, texts []string) (all []netip.Prefix) {
	for _, text := range texts {
		if p := netip.MustParsePrefix(text); ipproto.FamilyOf(p.Addr()) == f {
			all = append(all, p)
		}
	}
	return all
}

// guard sends packets to loopback from a neighbour, while the kernel would let them in, and from the node. A
// kernel never lets packets to ::1 in from a link, so there the rules must only be absent.
func guard(guarded bool) func(*testing.T, *session) {
	return func(t *testing.T, s *session) {
		if s.Family == ipproto.IPv6 {
			if rules := s.have[ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Firewall}]; len(rules) > 0 {
				t.Errorf("KUBE-FIREWALL has %v, want nothing", rules)
			}
			return
		}
		for _, h := range []lab.Host{lab.Node, lab.Ext} {
			if err := s.Host(h).Sysctl("ipv4/conf/all/route_localnet", "1"); err != nil {
				t.Fatal(err)
			}
		}
		fromNeighbour := untouched
		if guarded {
			fromNeighbour = drop
		}
		s.run(t, row{from: external, to: tcp("127.0.0.1:80"), want: fromNeighbour})
		s.run(t, row{from: loopback, to: tcp("127.0.0.1:80"), want: untouched})
	}
}
