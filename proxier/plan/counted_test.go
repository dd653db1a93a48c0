package plan

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// TestFrontendOf: each way to reach a Service is one rule with a port in the nat table, and no other rule is taken for
// one.
func TestFrontendOf(t *testing.T) {
	name := model.ServiceName{Namespace: "shop", Name: "web"}
	key := model.PortKey{Name: "http", Proto: ipproto.TCP}
	s := &model.Service{
		Name: name, ClusterIP: netip.MustParseAddr("10.96.0.1"),
		ExternalIPs: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, VIPs: []netip.Addr{netip.MustParseAddr("203.0.113.2")},
		SourceRanges: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, ExternalLocal: true,
		Ports: []model.ServicePort{{PortKey: key, Port: 80, NodePort: 30080}},
	}
	endpoints := []model.Endpoint{
		{Addr: netip.MustParseAddrPort("10.244.0.1:80"), Local: true, Ready: true, Serving: true},
		{Addr: netip.MustParseAddrPort("10.244.0.2:80"), Ready: true, Serving: true},
	}
	rules, _ := Plan(model.Snapshot{Family: ipproto.IPv4, Services: map[model.ServiceName]model.Entry{
		name: {Service: s, Backends: model.Backends{key: endpoints}},
	}}, Config{MasqueradeMark: 1 << 14, NodePortAddresses: []netip.Prefix{ipproto.IPv4.All()}})
	got := map[string]int{}
	for c, list := range rules {
		for _, r := range list {
			if f, ok := FrontendOf(r.Comment); ok && c.Table == ruleset.Nat && r.DstPorts.First != 0 {
				if f.Service != name || f.Port != "http" {
					t.Errorf("%q is taken for %+v", r.Comment, f)
				}
				got[f.Via]++
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"cluster IP": 1, "external IP": 1, "load balancer": 1, "node port": 1}, got); diff != "" {
		t.Errorf("frontends (-want +got):\n%s", diff)
	}
	if f, ok := FrontendOf("a/b"); !ok || f.Port != "" || f.Service != (model.ServiceName{Namespace: "a", Name: "b"}) {
		t.Errorf("an unnamed port: %+v, %v", f, ok)
	}
}
