package config

import (
	"net/netip"
	"strings"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/watcher/convert"
)

func TestPrimary(t *testing.T) {
	v6 := convert.NodeFacts{Primary: ipproto.IPv6}
	for _, test := range []struct {
		name string
		bind string
		node convert.NodeFacts
		want ipproto.Family
	}{
		{"nothing is known", "", convert.NodeFacts{}, ipproto.IPv4},
		{"the node says", "", v6, ipproto.IPv6},
		{"the operator says", "10.0.0.1", v6, ipproto.IPv4},
		{"the operator says IPv6", "fd00::1", convert.NodeFacts{}, ipproto.IPv6},
		{"the unspecified address says nothing", "0.0.0.0", v6, ipproto.IPv6},
		{"not even the one of IPv6", "::", convert.NodeFacts{}, ipproto.IPv4},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := resolve(t, "", "--bind-address="+test.bind)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Primary(test.node); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestPlausible(t *testing.T) {
	both := ipproto.Families[:]
	only4, only6 := []ipproto.Family{ipproto.IPv4}, []ipproto.Family{ipproto.IPv6}
	pods := func(cidrs ...string) convert.NodeFacts {
		n := convert.NodeFacts{Name: "n1", Primary: ipproto.IPv4}
		for _, c := range cidrs {
			if p := netip.MustParsePrefix(c); p.Addr().Is4() {
				n.PodCIDRv4 = p
			} else {
				n.PodCIDRv6 = p
			}
		}
		return n
	}
	const pods4, pods6, pods46 = " --cluster-cidr=10.244.0.0/16", " --cluster-cidr=fd00::/48", " --cluster-cidr=10.244.0.0/16,fd00::/48"
	const closed = "--nodeport-addresses=primary"
	for _, test := range []struct {
		name   string
		args   string
		node   convert.NodeFacts
		served []ipproto.Family
		// parts of the warnings, one for each
		warnings []string
		err      string
	}{
		{"nothing to say", closed + pods4, pods(), both, nil, ""},
		{"node ports on all addresses", pods4, pods(), both, []string{"--nodeport-addresses=primary"}, ""},
		{"said to be on all addresses", "--nodeport-addresses=all" + pods4, pods(), both, nil, ""},
		{"node ports on addresses of the other family", "--nodeport-addresses=fd00::/64" + pods4, pods(), both, []string{"all ipv4 addresses"}, ""},
		{"node ports on addresses of one family", "--nodeport-addresses=10.0.0.0/8" + pods4, pods(), both, nil, ""},
		{"node ports on addresses of one family, and pods of two", "--nodeport-addresses=10.0.0.0/8" + pods46, pods(), both, []string{"all ipv6 addresses"}, ""},
		{"the same, by the node", "--nodeport-addresses=10.0.0.0/8" + pods4, pods("10.1.0.0/24", "fd00::/64"), both, []string{"all ipv6 addresses"}, ""},
		{"node ports on addresses of both families", "--nodeport-addresses=10.0.0.0/8,fd00::/64" + pods46, pods(), both, nil, ""},

		{"pods are not known", closed, pods(), both, []string{"clusterCIDR"}, ""},
		{"pods need not be known", closed + " --detect-local-mode=BridgeInterface --pod-bridge-interface=cni0", pods(), both, nil, ""},
		{"pods of the wrong family", closed + pods6, pods(), both, []string{"fd00::/48 is ipv6, but this node is ipv4"}, ""},
		{"pods of the wrong family on a node that has no other", closed + pods6, pods(), only4, nil, "fd00::/48 is ipv6"},
		{"pods of both families on such a node", closed + pods46, pods(), only4, nil, ""},
		{"the node's pods of the wrong family", closed + pods4, pods("fd00::/64"), both, []string{`node "n1" is ipv6`}, ""},
		{"the node's pods of the wrong family, which are asked for", closed + " --detect-local-mode=NodeCIDR", pods("fd00::/64"), both, nil, `node "n1" is ipv6`},
		{"the node's pods of both families", closed + " --detect-local-mode=NodeCIDR", pods("10.1.0.0/24", "fd00::/64"), both, nil, ""},

		{"served where nobody is", closed + pods4 + " --healthz-bind-address=[fd00::1]:1 --metrics-bind-address=[::1]:2", pods(), only4,
			[]string{"healthzBindAddress", "metricsBindAddress"}, ""},
		{"served where somebody is", closed + pods4 + " --healthz-bind-address=[fd00::1]:1", pods(), both, nil, ""},
		{"served everywhere", closed + pods4 + " --healthz-bind-address=[::]:1", pods(), only4, nil, ""},

		{"the primary family cannot be programmed", closed + pods4, pods(), only6, nil, "--bind-address"},
		{"the other one cannot", closed + pods4, pods(), only4, nil, ""},
		{"the operator knows better", closed + pods6 + " --bind-address=fd00::1 --metrics-bind-address=[::1]:1", pods(), only6, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := resolve(t, "", strings.Fields(test.args)...)
			if err != nil {
				t.Fatal(err)
			}
			warnings, err := c.Plausible(test.node, test.served)
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if len(warnings) != len(test.warnings) {
				t.Fatalf("warnings %q, want %q", warnings, test.warnings)
			}
			for i, part := range test.warnings {
				if !strings.Contains(warnings[i], part) {
					t.Errorf("warning %q does not contain %q", warnings[i], part)
				}
			}
		})
	}
}
