package health

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync/atomic"

	"espalier/proxier/model"
)

// service answers for one Service, on all of its listeners.
type service struct {
	name    model.ServiceName
	healthy func() bool
	ready   atomic.Int64 // local ready endpoints
}

// answer is the body, with the field names and the order that cloud providers know from kube-proxy
// (kubernetes: pkg/proxy/healthcheck/service_health.go).
type answer struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int64 `json:"localEndpoints"`
	ServiceProxyHealthy bool  `json:"serviceProxyHealthy"`
}

// ServeHTTP answers any method on any path: 200 if this node has a ready endpoint and its rules are up to
// date, else 503. Whether the node is about to be removed plays no role.
func (s *service) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	a := answer{LocalEndpoints: s.ready.Load(), ServiceProxyHealthy: s.healthy()}
	a.Service.Namespace, a.Service.Name = s.name.Namespace, s.name.Name

	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	// Some load balancers spread connections over the nodes by this number.
	header.Set("X-Load-Balancing-Endpoint-Weight", strconv.FormatInt(a.LocalEndpoints, 10))
	if a.LocalEndpoints > 0 && a.ServiceProxyHealthy {
		w.WriteHeader(http.StatusOK)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	body, _ := json.MarshalIndent(a, "", "\t") // cannot fail: strings and numbers
	_, _ = w.Write(body)                       // the client may be gone; nobody else would want to know
}
