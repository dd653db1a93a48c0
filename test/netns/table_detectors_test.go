package netns

import (
	"espalier/proxier/plan"
	"espalier/test/netns/lab"
)

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
