package netns

import corev1 "k8s.io/api/core/v1"

// clusterIPs: ports and protocols of cluster IPs lead to their own endpoints, and a pod that reaches itself is
// masqueraded (TestClusterIPGeneral).
func clusterIPs() []table {
	const client = "10.180.0.2"
	return []table{{steps: []step{{
		cluster: cluster{
			service("ns1/svc1", "172.30.0.41", tcpPort("http", 80, 0)),
			slice("ns1/svc1", target("http", 80), "10.180.0.1 local"),
			service("ns2/svc2", "172.30.0.42", tcpPort("http", 80, 0), tcpPort("https", 443, 0),
				port("dns-udp", corev1.ProtocolUDP, 53, 0), tcpPort("dns-tcp", 53, 0), port("dns-sctp", corev1.ProtocolSCTP, 53, 0)),
			slice("ns2/svc2", target("http", 80).and("https", corev1.ProtocolTCP, 8443).and("dns-udp", corev1.ProtocolUDP, 53).
				and("dns-tcp", corev1.ProtocolTCP, 5353).and("dns-sctp", corev1.ProtocolSCTP, 53),
				"10.180.0.1 local", "10.180.2.1 node2"),
		},
		rows: []row{
			{id: "C1", from: backend(client), to: tcp("172.30.0.41:80"), want: plain("10.180.0.1:80")},
			{id: "C2", from: backend("10.180.0.1"), to: tcp("172.30.0.41:80"), want: masq("10.180.0.1:80")},
			{id: "C3", from: backend(client), to: tcp("172.30.0.42:80"), want: plain("10.180.0.1:80", "10.180.2.1:80")},
			{id: "C4", from: backend(client), to: tcp("172.30.0.42:443"), want: plain("10.180.0.1:8443", "10.180.2.1:8443")},
			{id: "C5", from: backend(client), to: tcp("172.30.0.42:53"), want: plain("10.180.0.1:5353", "10.180.2.1:5353")},
			{id: "C6", from: backend(client), to: udp("172.30.0.42:53"), want: plain("10.180.0.1:53", "10.180.2.1:53")},
			{id: "C7", from: backend(client), to: sctp("172.30.0.42:53"), want: plain("10.180.0.1:53", "10.180.2.1:53")},
			{id: "C8", from: backend(client), to: udp("172.30.0.42:80"), want: untouched},
			{id: "C9", from: backend(client), to: tcp("172.30.0.41:443"), want: untouched},
			// Those who would be masqueraded on the way to an endpoint are not on the way to anything else.
			{id: "C9-node", from: node, to: tcp("172.30.0.41:443"), want: untouched},
			{id: "C9-outside", from: external, to: tcp("172.30.0.41:443"), want: untouched},
		},
	}}}}
}
