package netns

// withoutEndpoints: a Service without endpoints is refused wherever it is asked (TestNoEndpointsReject).
func withoutEndpoints() []table {
	return []table{{steps: []step{{
		cluster: cluster{service("ns1/svc1", "172.30.0.41", loadBalancer("1.2.3.4"), externalIP("192.168.99.11"), tcpPort("p80", 80, 3001))},
		rows: []row{
			{id: "N1", from: pod, to: tcp("172.30.0.41:80"), want: reject},
			{id: "N2", from: external, to: tcp("192.168.99.11:80"), want: reject},
			{id: "N3", from: pod, to: tcp("192.168.0.2:3001"), want: reject},
			{id: "N4", from: external, to: tcp("192.168.0.2:3001"), want: reject},
			{id: "N5", from: pod, to: tcp("1.2.3.4:80"), want: reject},
			{id: "N6", from: external, to: tcp("1.2.3.4:80"), want: reject},
		},
	}}}}
}
