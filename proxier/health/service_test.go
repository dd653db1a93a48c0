package health

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

var (
	http80  = model.PortKey{Name: "http", Proto: ipproto.TCP}
	dns53   = model.PortKey{Name: "dns", Proto: ipproto.UDP}
	ready   = model.Endpoint{Ready: true, Serving: true}
	local   = model.Endpoint{Ready: true, Serving: true, Local: true}
	drain   = model.Endpoint{Serving: true, Terminating: true, Local: true}
	publish = model.Endpoint{Ready: true, Serving: true, Terminating: true, Local: true} // publishNotReadyAddresses
	starts  = model.Endpoint{Local: true}
)

// at returns the endpoint with an address.
func at(addr string, e model.Endpoint) model.Endpoint {
	e.Addr = netip.MustParseAddrPort(addr)
	return e
}

func TestLocalReady(t *testing.T) {
	for _, test := range []struct {
		name string
		of   model.Backends
		want int
	}{
		{"no endpoints", nil, 0},
		{"an endpoint elsewhere does not count", model.Backends{http80: {at("10.0.0.1:80", ready)}}, 0},
		{"local ready ones count", model.Backends{http80: {at("10.0.0.1:80", local), at("10.0.0.2:80", local), at("10.0.0.3:80", ready)}}, 2},
		{"two ports of one pod are one endpoint", model.Backends{http80: {at("10.0.0.1:80", local)}, dns53: {at("10.0.0.1:53", local)}}, 1},
		{"a terminating one does not count", model.Backends{http80: {at("10.0.0.1:80", drain)}}, 0},
		{"nor does one that is published as ready", model.Backends{http80: {at("10.0.0.1:80", publish)}}, 0},
		{"one that is not ready does not count", model.Backends{http80: {at("10.0.0.1:80", starts)}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := LocalReady(test.of); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestServices(t *testing.T) {
	entry := func(name string, port uint16, b model.Backends) (model.ServiceName, model.Entry) {
		n := model.ServiceName{Namespace: "shop", Name: name}
		return n, model.Entry{Service: &model.Service{Name: n, HealthCheckNodePort: port}, Backends: b}
	}
	s := model.Snapshot{Services: map[model.ServiceName]model.Entry{}}
	for _, add := range []func() (model.ServiceName, model.Entry){
		func() (model.ServiceName, model.Entry) {
			return entry("web", 32100, model.Backends{http80: {at("10.0.0.1:80", local)}})
		},
		func() (model.ServiceName, model.Entry) { return entry("db", 0, nil) },
		func() (model.ServiceName, model.Entry) { return entry("api", 32101, nil) },
	} {
		name, e := add()
		s.Services[name] = e
	}
	want := []Service{
		{Name: model.ServiceName{Namespace: "shop", Name: "api"}, Port: 32101},
		{Name: model.ServiceName{Namespace: "shop", Name: "web"}, Port: 32100, LocalReady: 1},
	}
	if diff := cmp.Diff(want, Services(s)); diff != "" {
		t.Errorf("Services (-want +got):\n%s", diff)
	}
}
