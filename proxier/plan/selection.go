package plan

import (
	"slices"

	"espalier/proxier/model"
)

// Selection is which endpoints of a service port new connections may reach.
type Selection struct {
	// Cluster are the endpoints for traffic policy Cluster; nil: no traffic of this service port follows it.
	Cluster []model.Endpoint
	// Local are the endpoints for traffic policy Local; nil: no traffic of this service port follows it.
	Local []model.Endpoint
	// Any: some usable endpoint exists, wherever it is. Without one, connections are refused; with one that a
	// Local policy may not use, they are dropped, so that a load balancer tries elsewhere.
	Any bool
}

// Select chooses among all endpoints of one service port, as kube-proxy does (pkg/proxy/topology.go).
//
// Ready endpoints win. Where there are none, those that still serve while they terminate are used, so that a
// rolling update loses no connection (KEP-1669); each policy falls back for itself. Topology hints (KEP-2433,
// KEP-3015) narrow the endpoints for policy Cluster, never those for policy Local.
func Select(s *model.Service, p model.ServicePort, all []model.Endpoint, node model.Node) Selection {
	var sel Selection
	if len(all) == 0 {
		return sel
	}
	external := externallyAccessible(s, p)
	if !s.InternalLocal || external {
		sel.Cluster = filter(all, admits(all, node))
		if len(sel.Cluster) == 0 {
			sel.Cluster = filter(all, draining)
		}
		sel.Any = len(sel.Cluster) > 0
	}
	if !s.InternalLocal && (!s.ExternalLocal || !external) {
		return sel
	}
	sel.Any = sel.Any || slices.ContainsFunc(all, func(e model.Endpoint) bool { return e.Ready || draining(e) })
	sel.Local = filter(all, func(e model.Endpoint) bool { return e.Local && e.Ready })
	if len(sel.Local) == 0 {
		sel.Local = filter(all, func(e model.Endpoint) bool { return e.Local && draining(e) })
	}
	return sel
}

// Reachable returns every endpoint that some connection can be sent to, in order.
func (sel Selection) Reachable() []model.Endpoint {
	switch {
	case len(sel.Local) == 0:
		return sel.Cluster
	case len(sel.Cluster) == 0:
		return sel.Local
	}
	all := slices.Concat(sel.Cluster, sel.Local)
	slices.SortFunc(all, model.CompareEndpoints)
	return slices.CompactFunc(all, func(a, b model.Endpoint) bool { return a.Addr == b.Addr })
}

// externallyAccessible reports whether anything but the cluster IP leads to the port. External IPs count even
// where the operator has switched them off.
func externallyAccessible(s *model.Service, p model.ServicePort) bool {
	return p.NodePort != 0 || len(s.VIPs) > 0 || len(s.ExternalIPs) > 0
}

func draining(e model.Endpoint) bool { return !e.Ready && e.Serving && e.Terminating }

// filter returns a list that is never nil: an empty choice is not the same as no choice.
func filter(all []model.Endpoint, keep func(model.Endpoint) bool) []model.Endpoint {
	chosen := make([]model.Endpoint, 0, len(all))
	for _, e := range all {
		if keep(e) {
			chosen = append(chosen, e)
		}
	}
	return chosen
}

// admits returns the test that a ready endpoint has to pass by its topology hints: meant for this node, else
// for this zone, else any. Hints are all or nothing: a single ready endpoint without them switches them off,
// because the control plane has then not finished to distribute them.
func admits(all []model.Endpoint, node model.Node) func(model.Endpoint) bool {
	forNode := func(e model.Endpoint) bool { return e.Ready && e.NodeHints.Has(node.Name) }
	forZone := func(e model.Endpoint) bool { return e.Ready && e.ZoneHints.Has(node.Zone) }
	nodes, zones := true, true // every ready endpoint has such hints
	thisNode, thisZone := false, false
	for _, e := range all {
		if !e.Ready {
			continue
		}
		nodes = nodes && e.NodeHints != ""
		zones = zones && e.ZoneHints != ""
		thisNode = thisNode || forNode(e)
		thisZone = thisZone || forZone(e)
	}
	switch {
	case nodes && thisNode:
		return forNode
	case zones && thisZone:
		return forZone
	}
	return func(e model.Endpoint) bool { return e.Ready }
}
