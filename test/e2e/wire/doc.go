// Package wire builds the hosts of a cluster and the cables between them, out of network namespaces.
//
//	 control .2      outside .100
//	    │               │
//	────┴───────────────┴──────────────────── LAN 198.18.0.0/24, fd00:198:18::/64; a router at .1 that leads nowhere
//	    │               │               │
//	 node1 .11       node2 .12       node3 .13
//	    │               │               │
//	  pods            pods            pods    one namespace each, with an address of the node's pod range per family
//
// How pods are reached is the business of a network plugin, of which there are four kinds. Overlay does as Flannel: a
// bridge on each node, and a VXLAN device with a route for the pod range of each other node. Routed does as Calico:
// a pair of interfaces and a host route for each pod, no bridge, and plain routes between nodes. Both masquerade what
// pods send out of the cluster, with iptables rules of their own. Flat does as Weave Net: the bridges of all nodes are
// one network. Endpoint does as Cilium, without its BPF programs: host routes for pods, VXLAN between nodes. These two
// write no rules.
//
// The package knows addresses, links, routes, and the rules that a network plugin cannot do without. It does not know
// the API, containers, or Services, and it writes no rule for them.
//
// The one rule to respect: a pod's range belongs to one node. SetPodCIDRs tells it, and the routes of the other nodes
// follow; before that, a node has no pods.
package wire
