package netns

import "espalier/test/netns/lab"

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
