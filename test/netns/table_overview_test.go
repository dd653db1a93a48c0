package netns

import "testing"

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
