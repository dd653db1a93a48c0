package plan_test

import (
	"net/netip"
	"slices"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
)

func TestPodCIDROfTheWholeFamilyIsNoMatch(t *testing.T) {
	name := model.ServiceName{Namespace: "shop", Name: "web"}
	key := model.PortKey{Proto: ipproto.TCP}
	s := model.Snapshot{Family: ipproto.IPv4, Services: map[model.ServiceName]model.Entry{name: {
		Service: &model.Service{
			Name: name, ClusterIP: netip.MustParseAddr("10.96.0.1"), ExternalLocal: true,
			Ports: []model.ServicePort{{PortKey: key, Port: 80, NodePort: 30080}},
		},
		Backends: model.Backends{key: {{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Ready: true}}},
	}}}
	cfg := plan.Config{MasqueradeMark: 0x4000, NodePortAddresses: []netip.Prefix{ipproto.IPv4.All()}}
	cfg.Detector.PodCIDR = ipproto.IPv4.All()
	rules, _ := plan.Plan(s, cfg)
	for chain, list := range rules {
		for _, r := range list {
			if err := r.Validate(ipproto.IPv4); err != nil {
				t.Errorf("%s: %q: %v", chain, r.Text(ipproto.IPv4), err)
			}
		}
	}
	services := rules[ruleset.Chain{Table: ruleset.Nat, Name: ruleset.Services}]
	if slices.ContainsFunc(services, func(r ruleset.Rule) bool { return r.Jump == ruleset.MarkMasq }) {
		t.Errorf("traffic to a cluster IP is masqueraded although every source is a local pod: %v", services)
	}
	external := rules[ruleset.Chain{Table: ruleset.Nat, Name: ruleset.PrefixExternal + ruleset.Hash("shop/webtcp")}]
	if len(external) == 0 || external[0].Jump != ruleset.DNAT {
		t.Errorf("every source is a local pod, but the first rule for external destinations is not its short-cut: %v", external)
	}
}
