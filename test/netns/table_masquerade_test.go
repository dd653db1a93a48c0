package netns

import (
	"slices"

	"espalier/proxier/plan"
)

// masquerading: who sees whom, for each pair of client and destination, in four configurations
// (TestInternalExternalMasquerade).
func masquerading() []table {
	configs := []struct {
		name   string
		change func(*plan.Config)
		want   func(masqueradeRow) outcome
	}{
		{"base", nil, func(r masqueradeRow) outcome { return r.base }},
		{
			"no-detector", func(c *plan.Config) { c.Detector = plan.Detector{} },
			func(r masqueradeRow) outcome { return r.noDetector },
		},
		{
			"masquerade-all", func(c *plan.Config) { c.MasqueradeAll = true },
			func(r masqueradeRow) outcome { return r.all },
		},
		{
			"masquerade-all-no-detector", func(c *plan.Config) { c.MasqueradeAll, c.Detector = true, plan.Detector{} },
			func(r masqueradeRow) outcome { return r.allNoDetector },
		},
	}
	var tables []table
	for _, c := range configs {
		st := step{cluster: masqueradedServices(), config: c.change}
		for _, r := range masqueradeRows() {
			st.rows = append(st.rows, row{id: r.id + "-" + c.name, from: r.from, to: tcp(r.to), want: c.want(r)})
		}
		tables = append(tables, table{steps: []step{st}})
	}
	return tables
}

func masqueradedServices() cluster {
	p80 := target("p80", 80)
	return cluster{
		service("ns1/svc1", "172.30.0.41", loadBalancer("1.2.3.4"), tcpPort("p80", 80, 3001)),
		slice("ns1/svc1", p80, "10.180.0.1 local", "10.180.1.1 node2"),
		service("ns2/svc2", "172.30.0.42", loadBalancer("5.6.7.8"), externally("Local"), healthCheck(30000), tcpPort("p80", 80, 3002)),
		slice("ns2/svc2", p80, "10.180.0.2 local", "10.180.1.2 node2"),
		service("ns3/svc3", "172.30.0.43", loadBalancer("9.10.11.12"), internally("Local"), tcpPort("p80", 80, 3003)),
		slice("ns3/svc3", p80, "10.180.0.3 local", "10.180.1.3 node2"),
	}
}

// masqueradeRow has one outcome for each configuration.
type masqueradeRow struct {
	id                                   string
	from                                 client
	to                                   string
	base, noDetector, all, allNoDetector outcome
}

func masqueradeRows() []masqueradeRow {
	const (
		svc1, port1, vip1 = "172.30.0.41:80", "192.168.0.2:3001", "1.2.3.4:80"
		svc2, port2, vip2 = "172.30.0.42:80", "192.168.0.2:3002", "5.6.7.8:80"
		svc3, port3, vip3 = "172.30.0.43:80", "192.168.0.2:3003", "9.10.11.12:80"
		lo1, lo2, lo3     = "127.0.0.1:3001", "127.0.0.1:3002", "127.0.0.1:3003"
	)
	// Each Service has a local endpoint and a remote one; N keeps the source, Y masquerades.
	oneN, oneY := plain("10.180.0.1:80", "10.180.1.1:80"), masq("10.180.0.1:80", "10.180.1.1:80")
	twoN, twoY, twoLocalN := plain("10.180.0.2:80", "10.180.1.2:80"), masq("10.180.0.2:80", "10.180.1.2:80"), plain("10.180.0.2:80")
	threeY := masq("10.180.0.3:80", "10.180.1.3:80")
	threeLocalN, threeLocalY := plain("10.180.0.3:80"), masq("10.180.0.3:80")
	return slices.Concat(
		[]masqueradeRow{ // both policies Cluster
			{"M1", pod, svc1, oneN, oneN, oneY, oneY},
			{"M2", pod, port1, oneY, oneY, oneY, oneY},
			{"M3", pod, vip1, oneY, oneY, oneY, oneY},
			{"M4", node, svc1, oneY, oneN, oneY, oneY},
			{"M5", node, port1, oneY, oneY, oneY, oneY},
			{"M6", loopback, lo1, oneY, oneY, oneY, oneY},
			{"M7", node, vip1, oneY, oneY, oneY, oneY},
			{"M8", external, svc1, oneY, oneN, oneY, oneY},
			{"M9", external, port1, oneY, oneY, oneY, oneY},
			{"M10", external, vip1, oneY, oneY, oneY, oneY},
		},
		[]masqueradeRow{ // external policy Local
			{"M11", pod, svc2, twoN, twoN, twoY, twoY},
			{"M12", pod, port2, twoN, twoLocalN, twoN, twoLocalN},
			{"M13", pod, vip2, twoN, twoLocalN, twoN, twoLocalN},
			{"M14", node, svc2, twoY, twoN, twoY, twoY},
			{"M15", node, port1, oneY, oneY, oneY, oneY}, // kube-proxy's test has the port of the first Service here
			{"M15a", node, port2, twoY, twoY, twoY, twoY},
			{"M16", loopback, lo2, twoY, twoY, twoY, twoY},
			{"M17", node, vip2, twoY, twoY, twoY, twoY},
			{"M18", external, svc2, twoY, twoN, twoY, twoY},
			{"M19", external, port2, twoLocalN, twoLocalN, twoLocalN, twoLocalN},
			{"M20", external, vip2, twoLocalN, twoLocalN, twoLocalN, twoLocalN},
		},
		[]masqueradeRow{ // internal policy Local
			{"M21", pod, svc3, threeLocalN, threeLocalN, threeLocalY, threeLocalY},
			{"M22", pod, port3, threeY, threeY, threeY, threeY},
			{"M23", pod, vip3, threeY, threeY, threeY, threeY},
			{"M24", node, svc3, threeLocalY, threeLocalN, threeLocalY, threeLocalY},
			{"M25", node, port3, threeY, threeY, threeY, threeY},
			{"M26", loopback, lo3, threeY, threeY, threeY, threeY},
			{"M27", node, vip3, threeY, threeY, threeY, threeY},
			{"M28", external, svc3, threeLocalY, threeLocalN, threeLocalY, threeLocalY},
			{"M29", external, port3, threeY, threeY, threeY, threeY},
			{"M30", external, vip3, threeY, threeY, threeY, threeY},
		},
	)
}
