package health

import (
	"net/netip"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

func TestOf(t *testing.T) {
	name := model.ServiceName{Namespace: "shop", Name: "web"}
	local := model.Backends{{Name: "http", Proto: ipproto.TCP}: {
		{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Ready: true, Serving: true, Local: true},
	}}
	for _, test := range []struct {
		name  string
		entry model.Entry
		want  Service
		ok    bool
	}{
		{"a Service with a health-check node port", model.Entry{Service: &model.Service{Name: name, HealthCheckNodePort: 32100}, Backends: local},
			Service{Name: name, Port: 32100, LocalReady: 1}, true},
		{"one whose endpoints are elsewhere", model.Entry{Service: &model.Service{Name: name, HealthCheckNodePort: 32100}},
			Service{Name: name, Port: 32100}, true},
		{"one without such a port", model.Entry{Service: &model.Service{Name: name}, Backends: local}, Service{}, false},
		{"one that is gone", model.Entry{}, Service{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, ok := Of(test.entry); got != test.want || ok != test.ok {
				t.Errorf("got %+v, %v; want %+v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}
