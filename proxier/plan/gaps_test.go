package plan

import (
	"net/netip"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

func TestGapsOf(t *testing.T) {
	port := model.ServicePort{PortKey: model.PortKey{Name: "http", Proto: ipproto.TCP}, Port: 80}
	exposed := port
	exposed.NodePort = 30080
	here := model.Endpoint{Addr: netip.MustParseAddrPort("10.244.1.1:80"), Local: true, Ready: true, Serving: true}
	there := model.Endpoint{Addr: netip.MustParseAddrPort("10.244.2.1:80"), Ready: true, Serving: true}
	dead := model.Endpoint{Addr: netip.MustParseAddrPort("10.244.2.2:80")}
	for _, test := range []struct {
		name               string
		internal, external bool // policy Local
		port               model.ServicePort
		endpoints          []model.Endpoint
		want               Gaps
	}{
		{"no Local policy", false, false, exposed, []model.Endpoint{there}, Gaps{}},
		{"internal, endpoints elsewhere", true, false, exposed, []model.Endpoint{there}, Gaps{Internal: 1}},
		{"external, endpoints elsewhere", false, true, exposed, []model.Endpoint{there}, Gaps{External: 1}},
		{"both", true, true, exposed, []model.Endpoint{there}, Gaps{1, 1}},
		{"external, but nothing leads here from outside", true, true, port, []model.Endpoint{there}, Gaps{Internal: 1}},
		{"an endpoint here", true, true, exposed, []model.Endpoint{here, there}, Gaps{}},
		{"no endpoint anywhere", true, true, exposed, nil, Gaps{}},
		{"none that can be used", true, true, exposed, []model.Endpoint{dead}, Gaps{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &model.Service{InternalLocal: test.internal, ExternalLocal: test.external, Ports: []model.ServicePort{test.port}}
			e := model.Entry{Service: s, Backends: model.Backends{port.PortKey: test.endpoints}}
			if got := GapsOf(e, model.Node{}); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	if got := GapsOf(model.Entry{}, model.Node{}); got != (Gaps{}) {
		t.Errorf("a Service that is gone has %+v", got)
	}
}
