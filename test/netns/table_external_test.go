package netns

// externalPolicies: with policy Local, clients from outside get the endpoints of this node and keep their
// address, while pods and the node itself use all endpoints (TestExternalTrafficPolicyLocal,
// TestExternalTrafficPolicyCluster).
func externalPolicies() []table {
	const a, b = "10.180.0.1:80", "10.180.2.1:80"
	endpoints := slice("ns1/svc1", target("p80", 80), "10.180.0.1", "10.180.2.1 local")
	options := []serviceOption{loadBalancer("1.2.3.4"), externalIP("192.168.99.11"), tcpPort("p80", 80, 3001)}
	local := service("ns1/svc1", "172.30.0.41", append(options, externally("Local"), healthCheck(30000))...)
	everywhere := service("ns1/svc1", "172.30.0.41", append(options, externally("Cluster"))...)
	return []table{
		{steps: []step{{cluster: cluster{local, endpoints}, rows: []row{
			{id: "EL1", from: pod, to: tcp("172.30.0.41:80"), want: plain(a, b)},
			{id: "EL2", from: pod, to: tcp("192.168.99.11:80"), want: plain(a, b)},
			{id: "EL3", from: external, to: tcp("192.168.99.11:80"), want: plain(b)},
			{id: "EL4", from: pod, to: tcp("1.2.3.4:80"), want: plain(a, b)},
			{id: "EL5", from: external, to: tcp("1.2.3.4:80"), want: plain(b)},
			{id: "EL6", from: pod, to: tcp("192.168.0.2:3001"), want: plain(a, b)},
			{id: "EL7", from: external, to: tcp("192.168.0.2:3001"), want: plain(b)},
		}}}},
		{steps: []step{{cluster: cluster{everywhere, endpoints}, rows: []row{
			{id: "EC1", from: pod, to: tcp("172.30.0.41:80"), want: plain(a, b)},
			{id: "EC2", from: pod, to: tcp("192.168.99.11:80"), want: masq(a, b)},
			{id: "EC3", from: external, to: tcp("192.168.99.11:80"), want: masq(a, b)},
			{id: "EC4", from: pod, to: tcp("1.2.3.4:80"), want: masq(a, b)},
			{id: "EC5", from: external, to: tcp("1.2.3.4:80"), want: masq(a, b)},
			{id: "EC6", from: pod, to: tcp("192.168.0.2:3001"), want: masq(a, b)},
			{id: "EC7", from: external, to: tcp("192.168.0.2:3001"), want: masq(a, b)},
		}}}},
	}
}
