package health

import (
	"net/netip"
	"slices"

	"espalier/proxier/model"
)

// Service is what load balancers may ask about one Service.
type Service struct {
	Name model.ServiceName
	// Port is the health-check node port; zero: nobody asks, and the Service is ignored.
	Port uint16
	// LocalReady counts the endpoints of this node that take new connections; see LocalReady.
	LocalReady int
}

// Services returns the Services of a snapshot that have a health-check node port, ordered by name.
func Services(s model.Snapshot) []Service {
	var found []Service
	for name, entry := range s.Services {
		if port := entry.Service.HealthCheckNodePort; port != 0 {
			found = append(found, Service{Name: name, Port: port, LocalReady: LocalReady(entry.Backends)})
		}
	}
	slices.SortFunc(found, func(a, b Service) int { return a.Name.Compare(b.Name) })
	return found
}

// LocalReady counts the addresses of ready endpoints on this node, over all ports: a pod that serves two
// ports is one endpoint.
//
// Terminating endpoints do not count, even where the rules still use them. That is how a load balancer
// learns to send new connections elsewhere while the old ones drain (KEP-1669).
func LocalReady(b model.Backends) int {
	addrs := map[netip.Addr]struct{}{}
	for _, endpoints := range b {
		for _, e := range endpoints {
			if e.Local && e.Ready && !e.Terminating {
				addrs[e.Addr.Addr()] = struct{}{}
			}
		}
	}
	return len(addrs)
}
