package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// shown returns frontends with their endpoints as text, in order: "10.96.0.10:53 > 10.244.0.1:53 10.244.0.2:53".
func shown(found map[netip.AddrPort][]netip.AddrPort) (lines []string) {
	for f, ends := range found {
		at := f.String()
		if !f.Addr().IsValid() {
			at = fmt.Sprintf("node port %d", f.Port())
		}
		var texts []string
		for _, e := range ends {
			texts = append(texts, e.String())
		}
		slices.Sort(texts)
		lines = append(lines, at+" > "+strings.Join(texts, " "))
	}
	slices.Sort(lines)
	return lines
}

// TestStandingRulesOfOurs: whatever the plan makes of a cluster, the frontends of UDP are found in it, and nothing else.
func TestStandingRulesOfOurs(t *testing.T) {
	for _, services := range []int{1, 20, 300} { // the trees get levels
		for _, endpoints := range []int{1, 3, 40} { // a direct DNAT, a chain, a chain of groups
			for _, local := range []bool{false, true} {
				all, want := map[model.ServiceName]model.Entry{}, map[netip.AddrPort][]netip.AddrPort{}
				for i := range services {
					udp := model.PortKey{Name: "dns", Proto: ipproto.UDP}
					tcp := model.PortKey{Name: "dns-tcp", Proto: ipproto.TCP}
					at := func(net byte) netip.Addr { return netip.AddrFrom4([4]byte{10, net, byte(i / 250), byte(i%250 + 1)}) }
					s := &model.Service{
						Name: model.ServiceName{Namespace: "shop", Name: fmt.Sprintf("dns-%d", i)}, ClusterIP: at(96),
						ExternalIPs: []netip.Addr{at(97)}, VIPs: []netip.Addr{at(98)}, ExternalLocal: local,
						Ports: []model.ServicePort{
							{PortKey: udp, Port: 53, NodePort: uint16(30000 + i)}, {PortKey: tcp, Port: 53, NodePort: uint16(30000 + i)},
						},
					}
					var ends, tcpEnds []model.Endpoint
					var addrs []netip.AddrPort
					for e := range endpoints {
						to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i % 250), byte(e + 1)}), 5353)
						addrs = append(addrs, to)
						ends = append(ends, model.Endpoint{Addr: to, Ready: true, Serving: true, Local: true})
						tcpEnds = append(tcpEnds, model.Endpoint{Addr: netip.AddrPortFrom(to.Addr(), 5354), Ready: true, Serving: true, Local: true})
					}
					all[s.Name] = model.Entry{Service: s, Backends: model.Backends{udp: ends, tcp: tcpEnds}}
					for _, a := range []netip.Addr{s.ClusterIP, s.ExternalIPs[0], s.VIPs[0]} {
						want[netip.AddrPortFrom(a, 53)] = addrs
					}
					want[netip.AddrPortFrom(netip.Addr{}, uint16(30000+i))] = addrs
				}
				rules, _ := Plan(model.Snapshot{Family: ipproto.IPv4, Services: all}, Config{MasqueradeMark: 1 << 14, NodePortAddresses: []netip.Prefix{ipproto.IPv4.All()}})
				if diff := cmp.Diff(shown(want), shown(Standing(rules, ipproto.UDP))); diff != "" {
					t.Errorf("%d Services of %d endpoints, local %v (-want +got):\n%.2000s", services, endpoints, local, diff)
				}
			}
		}
	}
}

// TestStandingRulesOfKubeProxy: its layout has a chain for each Service and each endpoint.
func TestStandingRulesOfKubeProxy(t *testing.T) {
	saved, err := ruleset.Parse(strings.NewReader(`*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-DNS - [0:0]
:KUBE-EXT-DNS - [0:0]
:KUBE-SVL-DNS - [0:0]
:KUBE-SEP-ONE - [0:0]
:KUBE-SEP-TWO - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-SEP-WEB - [0:0]
:MINE - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -p udp -m udp --dport 9 -j DNAT --to-destination 192.0.2.9:9
-A MINE -d 10.1.1.1/32 -p udp -m udp --dport 9 -j DNAT --to-destination 192.0.2.9:9
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/dns:dns cluster IP" -m udp --dport 53 -j KUBE-SVC-DNS
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "kube-system/dns:web cluster IP" -m tcp --dport 53 -j KUBE-SVC-WEB
-A KUBE-SERVICES -d 203.0.113.7/32 -p udp -m comment --comment "kube-system/dns:dns loadbalancer IP" -m udp --dport 53 -j KUBE-EXT-DNS
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p udp -m comment --comment "kube-system/dns:dns" -m udp --dport 30053 -j KUBE-EXT-DNS
-A KUBE-NODEPORTS -p tcp -m comment --comment "kube-system/dns:web" -m tcp --dport 30080 -j KUBE-SVC-WEB
-A KUBE-EXT-DNS -s 10.244.0.0/16 -m comment --comment "pod traffic for kube-system/dns:dns external destinations" -j KUBE-SVC-DNS
-A KUBE-EXT-DNS -m comment --comment "masquerade LOCAL traffic for kube-system/dns:dns external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
-A KUBE-EXT-DNS -j KUBE-SVL-DNS
-A KUBE-SVL-DNS -m comment --comment "kube-system/dns:dns -> 10.244.0.2:5353" -j KUBE-SEP-TWO
-A KUBE-SVC-DNS ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/dns:dns cluster IP" -m udp --dport 53 -j KUBE-MARK-MASQ
-A KUBE-SVC-DNS -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-ONE --mask 255.255.255.255 --rsource -j KUBE-SEP-ONE
-A KUBE-SVC-DNS -m comment --comment "kube-system/dns:dns -> 10.244.0.1:5353" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-ONE
-A KUBE-SVC-DNS -m comment --comment "kube-system/dns:dns -> 10.244.0.2:5353" -j KUBE-SEP-TWO
-A KUBE-SEP-ONE -s 10.244.0.1/32 -m comment --comment "kube-system/dns:dns" -j KUBE-MARK-MASQ
-A KUBE-SEP-ONE -p udp -m comment --comment "kube-system/dns:dns" -m recent --set --name KUBE-SEP-ONE --mask 255.255.255.255 --rsource -m udp -j DNAT --to-destination 10.244.0.1:5353
-A KUBE-SEP-TWO -s 10.244.0.2/32 -m comment --comment "kube-system/dns:dns" -j KUBE-MARK-MASQ
-A KUBE-SEP-TWO -p udp -m comment --comment "kube-system/dns:dns" -m udp -j DNAT --to-destination 10.244.0.2:5353
-A KUBE-SVC-WEB -m comment --comment "kube-system/dns:web -> 10.244.0.3:80" -j KUBE-SEP-WEB
-A KUBE-SEP-WEB -p tcp -m comment --comment "kube-system/dns:web" -m tcp -j DNAT --to-destination 10.244.0.3:80
COMMIT
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"10.96.0.10:53 > 10.244.0.1:5353 10.244.0.2:5353",
		"203.0.113.7:53 > 10.244.0.1:5353 10.244.0.2:5353",
		"node port 30053 > 10.244.0.1:5353 10.244.0.2:5353",
	}
	if diff := cmp.Diff(want, shown(Standing(saved.Rules, ipproto.UDP))); diff != "" {
		t.Errorf("frontends (-want +got):\n%s", diff)
	}
}

// A text need not come from a kernel, which takes no loops.
func TestStandingRulesThatGoRound(t *testing.T) {
	saved, err := ruleset.Parse(strings.NewReader(`*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SVC-B - [0:0]
-A KUBE-SERVICES -d 10.96.0.0/16 -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m udp --dport 53 -j KUBE-SVC-A
-A KUBE-SVC-A -j KUBE-SVC-B
-A KUBE-SVC-B -p udp -j DNAT --to-destination 10.244.0.1:5353
-A KUBE-SVC-B -j KUBE-SVC-A
COMMIT
`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.96.0.10:53 > 10.244.0.1:5353"}, shown(Standing(saved.Rules, ipproto.UDP))); diff != "" {
		t.Errorf("frontends (-want +got):\n%s", diff)
	}
}
