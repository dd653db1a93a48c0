// Package plan decides which rules a node needs: it turns a Snapshot of the cluster into a Ruleset.
//
// It knows what Kubernetes promises of Services and how rules keep these promises cheaply. It does not know
// what the kernel holds at the moment, how rules are written there, or where the Snapshot came from. Every
// function in here is pure: equal input gives equal rules, in whatever order the cluster's objects came.
//
// # Shape
//
// Frontends (cluster IPs, external IPs, load-balancer VIPs; node ports; verdicts of the filter table) hang on
// dispatch trees: short chains of jumps by address prefix or port range, at whose ends stands one rule for each
// address, protocol and port. A packet pays for the depth of the tree, not for the number of Services:
//
//	KUBE-SERVICES
//	├─ -d 10.96.0.0/16 → KUBE-SVC-10.96.0.0/16
//	│  ├─ -d 10.96.0.0/20 → KUBE-SVC-10.96.0.0/20
//	│  │  ├─ ! -s 10.244.0.0/16 → KUBE-MARK-MASQ           not from a pod: masquerade …
//	│  │  ├─ -d 10.96.0.10 -p udp --dport 53 → KUBE-SVC-TCOU7JCQXEZGVUNU
//	│  │  │  ├─ probability 1/2 → DNAT 10.244.1.3:53        one rule for each endpoint
//	│  │  │  └─ DNAT 10.244.2.7:53
//	│  │  ├─ -d 10.96.4.1 -p tcp --dport 80 → DNAT 10.244.1.9:8080   one endpoint: no chain at all
//	│  │  └─ ! -s 10.244.0.0/16 → MARK and-not              … unless nothing matched
//	│  └─ …
//	├─ …
//	└─ to an address of the node → KUBE-NODEPORTS
//	   └─ -p tcp --dport 30000:31023 → KUBE-EXT-tcp-30000-31023 …
//
// Masquerading is decided once for each leaf and not once for each Service. Endpoints that call themselves
// (hairpin) are found by one rule for all in KUBE-POSTROUTING and KUBE-FORWARD.
package plan

import (
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// Plan returns the content of every chain that the node should have for one family, and what could not be
// planned. KUBE-FIREWALL is only in it where the plan has rules for it; it must exist in any case.
func Plan(s model.Snapshot, cfg Config) (ruleset.Ruleset, []model.Problem) {
	p := NewPlanner(s.Family)
	change := p.Reset(s, cfg)
	return change.Write, p.Problems()
}
