package ruleset_test

import (
	"strings"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

func TestRuleValidate(t *testing.T) {
	mark := ruleset.Mark{Value: 1, Mask: 1}
	tests := []struct {
		name string
		rule ruleset.Rule
		says string // empty: it is valid
	}{
		{"an empty rule counts", ruleset.Rule{}, ""},
		{"a comment with an apostrophe", ruleset.Rule{Comment: "it's"}, ""},
		{"a comment of 255 bytes", ruleset.Rule{Comment: strings.Repeat("x", 255)}, ""},
		{"a comment of 256 bytes", ruleset.Rule{Comment: strings.Repeat("x", 256)}, "255"},
		{"a comment with a line break", ruleset.Rule{Comment: "x\n-A INPUT -j DROP"}, "control"},
		{"a comment with a quote", ruleset.Rule{Comment: `x" -j DROP`}, "quoted"},
		{"a comment with a backslash", ruleset.Rule{Comment: `x\`}, "quoted"},
		{"a comment with a NUL", ruleset.Rule{Comment: "x\x00"}, "control"},
		{"a prefix with host bits", ruleset.Rule{Src: prefix("10.1.2.3/8")}, "masked"},
		{"a prefix of everything", ruleset.Rule{Dst: prefix("0.0.0.0/0")}, "every address"},
		{"a prefix of the other family", ruleset.Rule{OrigDst: prefix("fd00::/8")}, "not ipv4"},
		{"an address mapped into IPv6", ruleset.Rule{Src: prefix("::ffff:10.0.0.0/104")}, "not ipv4"},
		{"inverted without prefix", ruleset.Rule{NotSrc: true}, "source"},
		{"inverted without interface", ruleset.Rule{NotIn: true}, "interface"},
		{"an interface name with a blank", ruleset.Rule{In: "eth 0"}, "interface"},
		{"an interface name that is an option", ruleset.Rule{In: "-j"}, "interface"},
		{"an interface name that is too long", ruleset.Rule{In: "abcdefghijklmnop"}, "15"},
		{"every interface", ruleset.Rule{In: "+"}, "every interface"},
		{"a protocol without a name", ruleset.Rule{Proto: 99}, "99"},
		{"ports without protocol", ruleset.Rule{DstPorts: ruleset.Port(80)}, "without a protocol"},
		{"ports backwards", ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Ports{First: 9, Last: 8}}, "range"},
		{"all ports", ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Ports{Last: 65535}}, "all ports"},
		{"an unknown state", ruleset.Rule{States: 1 << 7}, "state"},
		{"inverted without states", ruleset.Rule{NotStates: true}, "state"},
		{"a mark that cannot match", ruleset.Rule{Mark: ruleset.Mark{Value: 2, Mask: 1}}, "never"},
		{"inverted without mark", ruleset.Rule{NotMark: true}, "mark"},
		{"half of the packets", ruleset.Rule{Share: ruleset.OneIn(2)}, ""},
		{"two in four", ruleset.Rule{Share: ruleset.Share{Num: 2, Den: 4}}, "2/4"},
		{"more than all", ruleset.Rule{Share: ruleset.Share{Num: 3, Den: 2}}, "3/2"},
		{"none", ruleset.Rule{Share: ruleset.Share{Num: 0, Den: 1}}, "0/1"},
		{"an entry in a list", ruleset.Rule{Recent: ruleset.Recent{List: "L", Set: true}}, ""},
		{"a list without use", ruleset.Rule{Recent: ruleset.Recent{List: "L"}}, "neither"},
		{"a use without list", ruleset.Rule{Recent: ruleset.Recent{Set: true}}, "empty"},
		{"asking without an age", ruleset.Rule{Recent: ruleset.Recent{List: "L", Check: true}}, "zero seconds"},
		{"an age without asking", ruleset.Rule{Recent: ruleset.Recent{List: "L", Set: true, Seconds: 1}}, "without asking"},
		{"an nfacct name with a blank", ruleset.Rule{Acct: "a b"}, "nfacct"},
		{"DNAT", ruleset.Rule{Proto: ipproto.TCP, Jump: "DNAT", To: addrPort("10.0.0.1:80")}, ""},
		{"DNAT to nowhere", ruleset.Rule{Proto: ipproto.TCP, Jump: "DNAT"}, "address"},
		{"DNAT without port", ruleset.Rule{Proto: ipproto.TCP, Jump: "DNAT", To: addrPort("10.0.0.1:0")}, "port"},
		{"DNAT without protocol", ruleset.Rule{Jump: "DNAT", To: addrPort("10.0.0.1:80")}, "protocol"},
		{"DNAT to the other family", ruleset.Rule{Proto: ipproto.TCP, Jump: "DNAT", To: addrPort("[fd00::1]:80")}, "not ipv4"},
		{"an address for ACCEPT", ruleset.Rule{Jump: "ACCEPT", To: addrPort("10.0.0.1:80")}, "not DNAT"},
		{"MARK without mark", ruleset.Rule{Jump: "MARK"}, "MARK"},
		{"a mark for ACCEPT", ruleset.Rule{Jump: "ACCEPT", SetMark: mark}, "not MARK"},
		{"a chain name of 28 bytes", ruleset.Rule{Jump: strings.Repeat("x", 28)}, ""},
		{"a chain name of 29 bytes", ruleset.Rule{Jump: strings.Repeat("x", 29)}, "28"},
		{"a chain name with a blank", ruleset.Rule{Jump: "a b"}, "target"},
		{"foreign words", ruleset.Rule{Foreign: "-p icmp -j ACCEPT", Jump: "ACCEPT"}, ""},
		{"foreign words and others", ruleset.Rule{Foreign: "-p icmp", Proto: ipproto.TCP}, "other fields"},
		{"foreign words on two lines", ruleset.Rule{Foreign: "-p icmp\nCOMMIT"}, "control"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.rule.Validate(ipproto.IPv4)
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Validate() = %v, want it to say %q", err, tt.says)
			}
		})
	}
}

func TestChainValidate(t *testing.T) {
	for name, valid := range map[string]bool{
		"KUBE-SVC-ABC": true, strings.Repeat("x", 28): true, strings.Repeat("x", 29): false,
		"": false, "-A": false, "!": false, "a b": false, "a\n": false, `a"`: false, "ä": false,
	} {
		if err := (ruleset.Chain{Table: ruleset.Nat, Name: name}).Validate(); (err == nil) != valid {
			t.Errorf("chain %q: %v, want valid: %t", name, err, valid)
		}
	}
	if err := (ruleset.Chain{Table: 9, Name: "A"}).Validate(); err == nil {
		t.Error("a chain in no table is valid")
	}
}
