package ruleset_test

import (
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

func TestRuleText(t *testing.T) {
	tests := []struct {
		name   string
		family ipproto.Family
		rule   ruleset.Rule
		want   string
	}{
		{"the comment comes first", ipproto.IPv4,
			ruleset.Rule{Comment: "ns/svc:p cluster IP", Dst: prefix("10.96.0.1/32"), Proto: ipproto.TCP, DstPorts: ruleset.Port(80), Jump: "KUBE-SVC-A"},
			`-m comment --comment "ns/svc:p cluster IP" -d 10.96.0.1 -p tcp -m tcp --dport 80 -j KUBE-SVC-A`},
		{"a protocol without port needs no module", ipproto.IPv4,
			ruleset.Rule{Proto: ipproto.UDP, Jump: "DNAT", To: addrPort("10.0.0.1:53")},
			"-p udp -j DNAT --to-destination 10.0.0.1:53"},
		{"only who is chosen is remembered", ipproto.IPv4,
			ruleset.Rule{Share: ruleset.OneIn(2), Recent: ruleset.Recent{List: "L", Set: true}, Jump: "ACCEPT"},
			"-m statistic --mode random --probability 0.5000000000 -m recent --name L --set -j ACCEPT"},
		{"DNAT to IPv6 has brackets", ipproto.IPv6,
			ruleset.Rule{Proto: ipproto.TCP, Jump: "DNAT", To: addrPort("[fd00::1]:80")},
			"-p tcp -j DNAT --to-destination [fd00::1]:80"},
		{"a mark has eight digits", ipproto.IPv4,
			ruleset.Rule{Mark: ruleset.Mark{Value: 0x4000, Mask: 0x4000}, NotMark: true, Jump: "RETURN"},
			"-m mark ! --mark 0x00004000/0x00004000 -j RETURN"},
		{"states and original destination are one match", ipproto.IPv4,
			ruleset.Rule{States: ruleset.StateNew | ruleset.StateDNAT, OrigDst: prefix("10.96.0.0/12")},
			"-m conntrack --ctstate NEW,DNAT --ctorigdst 10.96.0.0/12"},
		{"masquerading takes random ports", ipproto.IPv4, ruleset.Rule{Jump: "MASQUERADE"}, "-j MASQUERADE --random-fully"},
		{"setting a bit", ipproto.IPv4, ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Value: 0x4000, Mask: 0x4000}}, "-j MARK --or-mark 0x00004000"},
		{"flipping a bit", ipproto.IPv4, ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Value: 0x4000}}, "-j MARK --xor-mark 0x00004000"},
		{"clearing a bit", ipproto.IPv4, ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Mask: 0x4000}}, "-j MARK --set-xmark 0x00000000/0x00004000"},
		{"foreign words stay", ipproto.IPv4, ruleset.Rule{Foreign: "-p icmp -j ACCEPT", Jump: "ACCEPT"}, "-p icmp -j ACCEPT"},
		{"nothing", ipproto.IPv4, ruleset.Rule{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.rule.Text(tt.family); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
