package netns

import corev1 "k8s.io/api/core/v1"

// internalPolicies: with policy Local, a cluster IP leads to endpoints of this node or nowhere
// (TestInternalTrafficPolicy).
func internalPolicies() []table {
	cases := []struct {
		id        string
		policy    corev1.ServiceInternalTrafficPolicy
		endpoints []string
		want      outcome
	}{
		{
			"I1", "Cluster", []string{"10.0.1.1 local", "10.0.1.2 node1", "10.0.1.3 node2"},
			plain("10.0.1.1:80", "10.0.1.2:80", "10.0.1.3:80"),
		},
		{"I2", "Local", []string{"10.0.1.1 local", "10.0.1.2 node1", "10.0.1.3 node2"}, plain("10.0.1.1:80")},
		{"I3", "Local", []string{"10.0.1.1 local", "10.0.1.2 local", "10.0.1.3 node2"}, plain("10.0.1.1:80", "10.0.1.2:80")},
		{"I4", "Local", []string{"10.0.1.1 node0", "10.0.1.2 node1", "10.0.1.3 node2"}, drop},
	}
	var tables []table
	for _, c := range cases {
		objects := cluster{
			service("ns1/svc1", "172.30.1.1", internally(c.policy), tcpPort("", 80, 0)),
			slice("ns1/svc1", target("", 80), c.endpoints...),
		}
		to := tcp("172.30.1.1:80")
		tables = append(tables, table{steps: []step{
			{cluster: objects, rows: []row{{id: c.id, from: pod, to: to, want: c.want}}},
			{cluster: objects.withoutSlices(), rows: []row{{id: c.id + "-slice-deleted", from: pod, to: to, want: reject}}},
		}})
	}
	return tables
}
