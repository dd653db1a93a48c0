package health

import "espalier/proxier/model"

// Service is what load balancers may ask about one Service.
type Service struct {
	Name model.ServiceName
	// Port is the health-check node port; zero: nobody asks, and the Service is ignored.
	Port uint16
	// LocalReady counts the endpoints of this node that take new connections; see model.LocalReady.
	LocalReady int
}

// Of returns what load balancers may ask about a Service; false: nothing. The entry of a Service that is gone
// has none.
func Of(e model.Entry) (Service, bool) {
	if e.Service == nil || e.Service.HealthCheckNodePort == 0 {
		return Service{}, false
	}
	return Service{Name: e.Service.Name, Port: e.Service.HealthCheckNodePort, LocalReady: model.LocalReady(e.Backends)}, true
}
