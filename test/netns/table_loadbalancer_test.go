package netns

import (
	"net/netip"
	"testing"

	"espalier/test/netns/lab"
)

// sourceRangesOfVIPs: ranges restrict who may use a VIP, pods and the node included, and nothing else
// (TestLoadBalancer).
func sourceRangesOfVIPs() []table {
	objects := cluster{
		service("ns1/svc1", "172.30.0.41", loadBalancer("1.2.3.4", "5.6.7.8"), externally("Cluster"),
			sourceRanges("192.168.0.0/24", " 203.0.113.0/25"), tcpPort("p80", 80, 3001)),
		slice("ns1/svc1", target("p80", 80), "10.180.0.1"),
	}
	rows := []row{
		{id: "L1", from: pod, to: tcp("172.30.0.41:80"), want: plain("10.180.0.1:80")},
		{id: "L2", from: external, to: tcp("192.168.0.2:3001"), want: masq("10.180.0.1:80")},
		{id: "L3", from: blocked, to: tcp("192.168.0.2:3001"), want: masq("10.180.0.1:80")},
		{id: "L4", from: external, to: tcp("1.2.3.4:80"), want: masq("10.180.0.1:80")},
		{id: "L5", from: external, to: tcp("5.6.7.8:80"), want: masq("10.180.0.1:80")},
		{id: "L6", from: blocked, to: tcp("1.2.3.4:80"), want: drop},
		{id: "L7", from: blocked, to: tcp("5.6.7.8:80"), want: drop},
		{id: "L8", from: pod, to: tcp("1.2.3.4:80"), want: drop},
		{id: "L9", from: pod, to: tcp("5.6.7.8:80"), want: drop},
		{id: "L10", from: node, to: tcp("1.2.3.4:80"), want: masq("10.180.0.1:80")},
		{id: "L11", from: node, to: tcp("5.6.7.8:80"), want: masq("10.180.0.1:80")},
	}
	// Some load balancers put the VIP onto the node. A packet of the node to the VIP then has the VIP as source,
	// and what the ranges refuse is dropped in INPUT instead of FORWARD.
	onNode := []row{
		{id: "L12", from: from(lab.Node, "1.2.3.4"), to: tcp("1.2.3.4:80"), want: masq("10.180.0.1:80")},
		{id: "L13", from: from(lab.Node, "5.6.7.8"), to: tcp("5.6.7.8:80"), want: masq("10.180.0.1:80")},
	}
	for _, r := range rows {
		r.id += "-vip-on-node"
		onNode = append(onNode, r)
	}
	addVIPs := func(t *testing.T, s *session) {
		for _, vip := range []string{"1.2.3.4", "5.6.7.8"} {
			if err := s.AddNodeAddress(in(s.Family, netip.MustParseAddr(vip))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return []table{{steps: []step{
		{cluster: objects, rows: rows},
		{cluster: objects, prepare: addVIPs, rows: onNode},
	}}}
}
