package netns

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"espalier/proxier/plan"
	"espalier/test/netns/lab"
)

// overview: one Service of each kind (TestTracePacket, there with rules written by hand).
func overview() []table {
	p80 := target("p80", 80)
	closeInput := func(t *testing.T, s *session) { s.closeInput(t) }
	return []table{{steps: []step{{
		cluster: cluster{
			service("ns1/svc1", "172.30.0.41", tcpPort("p80", 80, 0)), slice("ns1/svc1", p80, "10.180.0.1 node2"),
			service("ns2/svc2", "172.30.0.42", loadBalancer("1.2.3.4"), externalIP("192.168.99.22"), externally("Local"),
				healthCheck(30000), tcpPort("p80", 80, 3001)),
			slice("ns2/svc2", p80, "10.180.0.2 node2"),
			service("ns4/svc4", "172.30.0.44", tcpPort("p80", 80, 0)), slice("ns4/svc4", p80, "10.180.0.4 node2", "10.180.0.5 node2"),
			service("ns6/svc6", "172.30.0.46", tcpPort("p80", 80, 0)),
		},
		prepare: closeInput,
		rows:    overviewRows(),
	}}}}
}

func overviewRows() []row {
	return []row{
		{id: "T1", from: pod, to: tcp("10.0.0.3:80"), want: untouched},
		{id: "T2", from: pod, to: tcp("172.30.0.41:80"), want: plain("10.180.0.1:80")},
		{id: "T3", from: pod, to: tcp("172.30.0.44:80"), want: plain("10.180.0.4:80", "10.180.0.5:80")},
		{id: "T4", from: node, to: tcp("192.168.99.22:80"), want: masq("10.180.0.2:80")},
		{id: "T5", from: external, to: tcp("192.168.99.22:80"), want: drop},
		{id: "T6", from: node, to: tcp("192.168.0.2:30000"), want: untouched}, // while INPUT drops all else
		{id: "T7", from: pod, to: tcp("172.30.0.46:80"), want: reject},
	}
}

// protocols: the same port number leads to other endpoints by each protocol, on every kind of frontend.
func protocols() []table {
	st := step{cluster: cluster{
		service("ns1/svc1", "172.30.0.41", loadBalancer("1.2.3.4"), externalIP("192.168.99.11"),
			port("t", corev1.ProtocolTCP, 80, 3001), port("u", corev1.ProtocolUDP, 80, 3001), port("s", corev1.ProtocolSCTP, 80, 3001)),
		slice("ns1/svc1", target("t", 80).and("u", corev1.ProtocolUDP, 53).and("s", corev1.ProtocolSCTP, 443),
			"10.180.0.1 node2", "10.180.0.2 local"),
		service("ns1/svc2", "172.30.0.42", nodePort,
			port("t", corev1.ProtocolTCP, 80, 3002), port("u", corev1.ProtocolUDP, 80, 3002), port("s", corev1.ProtocolSCTP, 80, 3002)),
	}}
	for _, p := range []struct {
		id   string
		to   func(string) destination
		port string
	}{{"P-tcp", tcp, ":80"}, {"P-udp", udp, ":53"}, {"P-sctp", sctp, ":443"}} {
		id, to, eps := p.id, p.to, []string{"10.180.0.1" + p.port, "10.180.0.2" + p.port}
		st.rows = append(st.rows,
			row{id: id + "-clusterip", from: pod, to: to("172.30.0.41:80"), want: plain(eps...)},
			row{id: id + "-vip", from: external, to: to("1.2.3.4:80"), want: masq(eps...)},
			row{id: id + "-externalip", from: external, to: to("192.168.99.11:80"), want: masq(eps...)},
			row{id: id + "-nodeport", from: external, to: to("192.168.0.2:3001"), want: masq(eps...)},
			row{id: id + "-node", from: node, to: to("172.30.0.41:80"), want: masq(eps...)},
			row{id: id + "-backend", from: backend("10.180.0.3"), to: to("172.30.0.41:80"), want: plain(eps...)},
			row{id: id + "-refused", from: pod, to: to("172.30.0.42:80"), want: reject},
			row{id: id + "-refused-nodeport", from: external, to: to("192.168.0.2:3002"), want: reject},
			row{id: id + "-refused-node", from: node, to: to("172.30.0.42:80"), want: reject},
		)
	}
	return []table{{steps: []step{st}}}
}

// detectorsByInterface: pods are recognised by the link that their packets come in by, whatever their address;
// what the node sends itself has none (--detect-local-mode=InterfaceNamePrefix).
func detectorsByInterface() []table {
	l, both := "10.180.0.2:80", []string{"10.180.0.2:80", "10.180.1.2:80"}
	var tables []table
	for id, name := range map[string]string{"D-interface": string(lab.Pod), "D-prefix": "po+"} {
		tables = append(tables, table{steps: []step{{
			cluster: masqueradedServices(),
			config:  func(c *plan.Config) { c.Detector = plan.Detector{Interface: name} },
			rows: []row{
				{id: id + "-pod", from: pod, to: tcp("172.30.0.42:80"), want: plain(both...)},
				{id: id + "-node", from: node, to: tcp("172.30.0.42:80"), want: masq(both...)},
				{id: id + "-outside", from: external, to: tcp("172.30.0.42:80"), want: masq(both...)},
				{id: id + "-pod-to-nodeport", from: pod, to: tcp("192.168.0.2:3002"), want: plain(both...)},
				{id: id + "-node-to-nodeport", from: node, to: tcp("192.168.0.2:3002"), want: masq(both...)},
				{id: id + "-outside-to-nodeport", from: external, to: tcp("192.168.0.2:3002"), want: plain(l)},
			},
		}}})
	}
	return tables
}

// nextToEachOther: addresses of different kinds and policies that differ in their last bits only, so that they
// share whatever leads to them.
func nextToEachOther() []table {
	p80 := target("p80", 80)
	one, oneLocal := []string{"10.180.0.1:80", "10.180.1.1:80"}, "10.180.0.1:80"
	two := []string{"10.180.0.2:80", "10.180.1.2:80"}
	return []table{{steps: []step{{
		cluster: cluster{
			service("ns1/svc1", "172.30.0.40", loadBalancer("172.30.0.41"), externalIP("172.30.0.42"), externally("Local"),
				healthCheck(30000), tcpPort("p80", 80, 3001)),
			slice("ns1/svc1", p80, "10.180.0.1 local", "10.180.1.1 node2"),
			service("ns2/svc2", "172.30.0.43", loadBalancer("172.30.0.44"), externalIP("172.30.0.45"), tcpPort("p80", 80, 3002)),
			slice("ns2/svc2", p80, "10.180.0.2 local", "10.180.1.2 node2"),
			service("ns3/svc3", "172.30.0.46", loadBalancer("172.30.0.47"), sourceRanges("203.0.113.0/25"), tcpPort("p80", 80, 3003)),
			slice("ns3/svc3", p80, "10.180.0.3 local"),
		},
		rows: []row{
			{id: "A-local-clusterip", from: external, to: tcp("172.30.0.40:80"), want: masq(one...)},
			{id: "A-local-clusterip-pod", from: pod, to: tcp("172.30.0.40:80"), want: plain(one...)},
			{id: "A-local-vip", from: external, to: tcp("172.30.0.41:80"), want: plain(oneLocal)},
			{id: "A-local-vip-pod", from: pod, to: tcp("172.30.0.41:80"), want: plain(one...)},
			{id: "A-local-externalip", from: external, to: tcp("172.30.0.42:80"), want: plain(oneLocal)},
			{id: "A-clusterip", from: node, to: tcp("172.30.0.43:80"), want: masq(two...)},
			{id: "A-clusterip-pod", from: pod, to: tcp("172.30.0.43:80"), want: plain(two...)},
			{id: "A-vip-pod", from: pod, to: tcp("172.30.0.44:80"), want: masq(two...)},
			{id: "A-externalip", from: external, to: tcp("172.30.0.45:80"), want: masq(two...)},
			{id: "A-ranges-clusterip", from: pod, to: tcp("172.30.0.46:80"), want: plain("10.180.0.3:80")},
			{id: "A-ranges-vip", from: external, to: tcp("172.30.0.47:80"), want: masq("10.180.0.3:80")},
			{id: "A-ranges-vip-blocked", from: blocked, to: tcp("172.30.0.47:80"), want: drop},
			{id: "A-no-service", from: external, to: tcp("172.30.0.39:80"), want: untouched},
			{id: "A-other-port", from: external, to: tcp("172.30.0.43:443"), want: untouched},
		},
	}}}}
}

// onTheNode: an endpoint with the node's own address, as those of the API server are.
func onTheNode() []table {
	const api = "192.168.0.2:8443"
	return []table{{steps: []step{{
		cluster: cluster{
			service("default/kubernetes", "172.30.0.1", tcpPort("https", 443, 3001)),
			slice("default/kubernetes", target("https", 8443), "192.168.0.2 local"),
		},
		rows: []row{
			{id: "E-pod", from: pod, to: tcp("172.30.0.1:443"), want: plain(api)},
			// Nothing leaves the node, so nothing is masqueraded, mark or not.
			{id: "E-outside", from: external, to: tcp("172.30.0.1:443"), want: plain(api)},
			{id: "E-nodeport", from: external, to: tcp("192.168.0.2:3001"), want: plain(api)},
			{id: "E-node", from: from(lab.Node, "192.168.1.2"), to: tcp("172.30.0.1:443"), want: masq(api)},
		},
	}}}}
}
