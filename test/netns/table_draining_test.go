package netns

import corev1 "k8s.io/api/core/v1"

// drainingEndpoints: endpoints that terminate but still serve are used as long as there is none better, for
// each policy on its own (TestTerminatingEndpointsTrafficPolicyLocal and -Cluster).
func drainingEndpoints() []table {
	const one, two, three, five = "10.0.1.1:80", "10.0.1.2:80", "10.0.1.3:80", "10.0.1.5:80"
	cases := []struct {
		id                   string
		policy               corev1.ServiceExternalTrafficPolicy
		endpoints            []string
		fromPod, fromOutside outcome
	}{
		{
			"DL1", "Local",
			[]string{"10.0.1.1 local", "10.0.1.2 local", "10.0.1.3 draining local", "10.0.1.4 gone local", "10.0.1.5 node2"},
			plain(one, two, five), plain(one, two),
		},
		{
			"DL2", "Local",
			[]string{"10.0.1.2 draining local", "10.0.1.3 draining local", "10.0.1.4 gone local", "10.0.1.5 node2"},
			plain(five), plain(two, three),
		},
		{"DL3", "Local", []string{"10.0.1.5 draining node2"}, plain(five), drop},
		{"DL4", "Local", []string{"10.0.1.5 gone local", "10.0.1.5 gone node2"}, reject, reject},
		{
			"DC1", "Cluster",
			[]string{"10.0.1.1 local", "10.0.1.2 local", "10.0.1.3 draining node2", "10.0.1.4 gone node2", "10.0.1.5 node2"},
			plain(one, two, five), masq(one, two, five),
		},
		{
			"DC2", "Cluster",
			[]string{"10.0.1.2 draining local", "10.0.1.3 draining local", "10.0.1.4 gone node2", "10.0.1.5 draining node2"},
			plain(two, three, five), masq(two, three, five),
		},
		{"DC3", "Cluster", []string{"10.0.1.5 draining node2"}, plain(five), masq(five)},
		{"DC4", "Cluster", []string{"10.0.1.5 gone local", "10.0.1.5 gone node2"}, reject, reject},
	}
	var tables []table
	for _, c := range cases {
		options := []serviceOption{loadBalancer("1.2.3.4"), externally(c.policy), tcpPort("", 80, 0)}
		if c.policy == corev1.ServiceExternalTrafficPolicyLocal {
			options = append(options, healthCheck(30000))
		}
		objects := cluster{
			service("ns1/svc1", "172.30.1.1", options...), slice("ns1/svc1", target("", 80), c.endpoints...),
		}
		rows := func(suffix string, fromPod, fromOutside outcome) []row {
			return []row{
				{id: c.id + "-pod" + suffix, from: pod, to: tcp("172.30.1.1:80"), want: fromPod},
				{id: c.id + "-outside" + suffix, from: external, to: tcp("1.2.3.4:80"), want: fromOutside},
			}
		}
		tables = append(tables, table{steps: []step{
			{cluster: objects, rows: rows("", c.fromPod, c.fromOutside)},
			{cluster: objects.withoutSlices(), rows: rows("-slice-deleted", reject, reject)},
		}})
	}
	return tables
}
