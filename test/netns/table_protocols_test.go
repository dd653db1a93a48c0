package netns

import corev1 "k8s.io/api/core/v1"

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
