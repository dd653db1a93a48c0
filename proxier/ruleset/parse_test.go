package ruleset_test

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

var (
	prefix   = netip.MustParsePrefix
	addrPort = netip.MustParseAddrPort
)

// parse reads a text that must be good.
func parse(t *testing.T, text string) ruleset.Saved {
	t.Helper()
	saved, err := ruleset.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return saved
}

func parseFile(t *testing.T, name string) ruleset.Saved {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(b))
}

// rule reads one rule of a user-defined chain.
func rule(t *testing.T, spec string) ruleset.Rule {
	t.Helper()
	saved := parse(t, "*nat\n:KUBE-SVC-A - [0:0]\n:KUBE-SVC-B - [0:0]\n-A KUBE-SVC-A "+spec+"\nCOMMIT\n")
	rules := saved.Rules[ruleset.Chain{Table: ruleset.Nat, Name: "KUBE-SVC-A"}]
	if len(rules) != 1 {
		t.Fatalf("%d rules from %q", len(rules), spec)
	}
	return rules[0]
}

// What testdata/capture.sh loaded and what both backends then printed is the same to us.
func TestParseReadsWhatWasLoadedFromWhatIsPrinted(t *testing.T) {
	for _, name := range []string{"kube-proxy", "ours.ipv4", "ours.ipv6"} {
		loaded := parseFile(t, name+".rules")
		for c, rules := range loaded.Rules {
			for _, r := range rules {
				if r.Foreign != "" {
					t.Errorf("%s: no words for a rule in %v: %s", name, c, r.Foreign)
				}
			}
		}
		for _, backend := range []string{"nft", "legacy"} {
			printed := parseFile(t, name+"."+backend+".save")
			if diff := cmp.Diff(loaded.Owned(), printed.Owned(), sameRules); diff != "" {
				t.Errorf("%s, backend %s: loaded and printed differ (-loaded +printed):\n%s", name, backend, diff)
			}
			for _, builtIn := range []string{"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"} {
				if _, ok := printed.Rules[ruleset.Chain{Table: ruleset.Nat, Name: builtIn}]; !ok {
					t.Errorf("%s, backend %s: no chain nat/%s", name, backend, builtIn)
				}
			}
		}
	}
}

func TestParseRule(t *testing.T) {
	const hairpin6 = `"22,32 0 0 8,2 0 0 0,32 0 0 24,97 0 0 0,29 0 16 0,32 0 0 12,2 0 0 0,32 0 0 28,97 0 0 0,29 0 11 0,` +
		`32 0 0 16,2 0 0 0,32 0 0 32,97 0 0 0,29 0 6 0,32 0 0 20,2 0 0 0,32 0 0 36,97 0 0 0,29 0 1 0,6 0 0 65535,6 0 0 0"`
	tests := []struct {
		name, spec string
		want       ruleset.Rule
	}{
		{"no words at all", "", ruleset.Rule{}},
		{"addresses and interface", "! -s 10.0.0.0/8 -d 10.1.2.3/32 ! -i br0 -j ACCEPT",
			ruleset.Rule{Src: prefix("10.0.0.0/8"), NotSrc: true, Dst: prefix("10.1.2.3/32"), In: "br0", NotIn: true, Jump: "ACCEPT"}},
		{"an address without length", "-s 10.1.2.3 -d 10.1.2.4", ruleset.Rule{Src: prefix("10.1.2.3/32"), Dst: prefix("10.1.2.4/32")}},
		{"a prefix with host bits is masked as iptables does", "-s 10.1.2.3/8", ruleset.Rule{Src: prefix("10.0.0.0/8")}},
		{"every address constrains nothing", "-s 0.0.0.0/0 -j DROP", ruleset.Rule{Jump: "DROP"}},
		{"IPv6", "-s fd00::/8 -d fd00::1", ruleset.Rule{Src: prefix("fd00::/8"), Dst: prefix("fd00::1/128")}},
		{"kube-proxy names the module first", "-m comment --comment ns/svc:p -m tcp -p tcp -d 10.0.0.1 --dport 80 ! -s 10.244.0.0/16 -j KUBE-SVC-B",
			ruleset.Rule{
				Src: prefix("10.244.0.0/16"), NotSrc: true, Dst: prefix("10.0.0.1/32"), Proto: ipproto.TCP, DstPorts: ruleset.Port(80),
				Comment: "ns/svc:p", Jump: "KUBE-SVC-B",
			}},
		{"ports", "-p sctp -m sctp --dport 80:90", ruleset.Rule{Proto: ipproto.SCTP, DstPorts: ruleset.Ports{First: 80, Last: 90}}},
		{"protocol by number", "-p 17", ruleset.Rule{Proto: ipproto.UDP}},
		{"a quoted comment with escapes", `-m comment --comment "it\'s two  words" -j RETURN`,
			ruleset.Rule{Comment: "it's two  words", Jump: "RETURN"}},
		{"address types, in one match or two", "-m addrtype --src-type LOCAL -m addrtype --dst-type LOCAL", ruleset.Rule{SrcLocal: true, DstLocal: true}},
		{"conntrack states", "-m conntrack ! --ctstate DNAT,RELATED,ESTABLISHED -j DROP",
			ruleset.Rule{States: ruleset.StateDNAT | ruleset.StateRelated | ruleset.StateEstablished, NotStates: true, Jump: "DROP"}},
		{"original destination", "-m conntrack --ctstate NEW --ctorigdst 127.0.0.0/8",
			ruleset.Rule{States: ruleset.StateNew, OrigDst: prefix("127.0.0.0/8")}},
		{"hairpin of IPv4", `-m bpf --bytecode "7,32 0 0 12,2 0 0 0,32 0 0 16,97 0 0 0,29 0 1 0,6 0 0 65535,6 0 0 0"`, ruleset.Rule{Hairpin: true}},
		{"hairpin of IPv6", "-m bpf --bytecode " + hairpin6, ruleset.Rule{Hairpin: true}},
		{"a mark", "-m mark ! --mark 0x4000/0x4000 -j RETURN",
			ruleset.Rule{Mark: ruleset.Mark{Value: 0x4000, Mask: 0x4000}, NotMark: true, Jump: "RETURN"}},
		{"a mark without mask", "-m mark --mark 0x1", ruleset.Rule{Mark: ruleset.Mark{Value: 1, Mask: 0xffffffff}}},
		{"a probability as written", "-m statistic --mode random --probability 0.3333333333", ruleset.Rule{Share: ruleset.OneIn(3)}},
		{"a probability as printed", "-m statistic --mode random --probability 0.33333333349", ruleset.Rule{Share: ruleset.OneIn(3)}},
		{"recent as written", "-m recent --name L --rcheck --seconds 600 --reap -m recent --name L --set",
			ruleset.Rule{Recent: ruleset.Recent{List: "L", Seconds: 600, Check: true, Set: true}}},
		{"recent as printed", "-m recent --rcheck --seconds 600 --reap --name L --mask 255.255.255.255 --rsource -m recent --set --name L --mask 255.255.255.255 --rsource",
			ruleset.Rule{Recent: ruleset.Recent{List: "L", Seconds: 600, Check: true, Set: true}}},
		{"kube-proxy remembers before -m tcp", "-p tcp -m recent --name L --set -m tcp -j DNAT --to-destination 10.0.0.1:80",
			ruleset.Rule{Proto: ipproto.TCP, Recent: ruleset.Recent{List: "L", Set: true}, Jump: "DNAT", To: addrPort("10.0.0.1:80")}},
		{"a counter", "-m conntrack --ctstate INVALID -m nfacct --nfacct-name  dropped -j DROP",
			ruleset.Rule{States: ruleset.StateInvalid, Acct: "dropped", Jump: "DROP"}},
		{"DNAT to IPv6", "-p udp -j DNAT --to-destination [fd00::1]:53", ruleset.Rule{Proto: ipproto.UDP, Jump: "DNAT", To: addrPort("[fd00::1]:53")}},
		{"default reject", "-j REJECT --reject-with icmp-port-unreachable", ruleset.Rule{Jump: "REJECT"}},
		{"default reject of IPv6", "-j REJECT --reject-with icmp6-port-unreachable", ruleset.Rule{Jump: "REJECT"}},
		{"masquerade", "-j MASQUERADE --random-fully", ruleset.Rule{Jump: "MASQUERADE"}},
		{"or-mark", "-j MARK --or-mark 0x00004000", ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Value: 0x4000, Mask: 0x4000}}},
		{"or-mark as printed", "-j MARK --set-xmark 0x4000/0x4000", ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Value: 0x4000, Mask: 0x4000}}},
		{"xor-mark", "-j MARK --xor-mark 0x4000", ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Value: 0x4000}}},
		{"xor-mark as printed", "-j MARK --set-xmark 0x4000/0x0", ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Value: 0x4000}}},
		{"and-mark", "-j MARK --and-mark 0xffffbfff", ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Mask: 0x4000}}},
		{"and-mark as printed", "-j MARK --set-xmark 0x0/0x4000", ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Mask: 0x4000}}},
		{"set-mark also clears under its mask", "-j MARK --set-mark 0x11/0xf", ruleset.Rule{Jump: "MARK", SetMark: ruleset.Mark{Value: 0x11, Mask: 0x1f}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rule(t, tt.spec), sameRules); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.spec, diff)
			}
		})
	}
}

// A rule must not be taken for one of ours if it means anything else.
func TestParseKeepsWhatItHasNoWordsFor(t *testing.T) {
	tests := []struct{ spec, jump, comment string }{
		{"-p icmp -j ACCEPT", "ACCEPT", ""},
		{"! -p tcp -j ACCEPT", "ACCEPT", ""},
		{"-o eth0 -j KUBE-SVC-B", "KUBE-SVC-B", ""},
		{"-f -j DROP", "DROP", ""},
		{"-g KUBE-SVC-B", "KUBE-SVC-B", ""},
		{"-s 10.0.0.0/255.0.255.0 -j DROP", "DROP", ""},
		{"! -s 0.0.0.0/0 -j DROP", "DROP", ""},
		{"-p tcp -m tcp --sport 80 -j ACCEPT", "ACCEPT", ""},
		{"-p tcp -m tcp ! --dport 80 -j ACCEPT", "ACCEPT", ""},
		{"-p tcp -m multiport --dports 80,81 -j ACCEPT", "ACCEPT", ""},
		{"-p tcp -m tcp --dport 80 --tcp-flags SYN SYN -j ACCEPT", "ACCEPT", ""},
		{"-p tcp -m udp --dport 80 -j ACCEPT", "ACCEPT", ""},
		{"-m addrtype --dst-type BROADCAST -j DROP", "DROP", ""},
		{"-m addrtype ! --dst-type LOCAL -j DROP", "DROP", ""},
		{"-m conntrack --ctstate SNAT -j DROP", "DROP", ""},
		{"-m conntrack ! --ctorigdst 10.0.0.0/8 -j DROP", "DROP", ""},
		{"-m statistic --mode nth --every 2 --packet 0 -j DROP", "DROP", ""},
		{"-m statistic --mode random ! --probability 0.5 -j DROP", "DROP", ""},
		{"-m statistic --mode random --probability 0.0000099999 -j DROP", "DROP", ""},
		{"-m recent --rcheck --seconds 5 --name L -j DROP", "DROP", ""},
		{"-m recent --update --seconds 5 --reap --name L -j DROP", "DROP", ""},
		{"-m recent --rcheck --seconds 5 --hitcount 3 --reap --name L -j DROP", "DROP", ""},
		{"-m recent --set --name L --mask 255.255.255.0 --rsource -j DROP", "DROP", ""},
		{"-m recent --set --name L --rdest -j DROP", "DROP", ""},
		{"-m recent --set --name L -m recent --rcheck --seconds 5 --reap --name L -j DROP", "DROP", ""},
		{"-m recent --rcheck --seconds 5 --reap --name L -m recent --set --name M -j DROP", "DROP", ""},
		{"-m recent --set --name L -m statistic --mode random --probability 0.5 -j DROP", "DROP", ""},
		{"-p tcp -m recent --set --name L -m tcp --dport 80 -j DROP", "DROP", ""},
		{`-m bpf --bytecode "1,6 0 0 65535" -j DROP`, "DROP", ""},
		{`-m bpf --bytecode "7,32 0 0 12,2 0 0 0,32 0 0 16,97 0 0 0,29 0 0 1,6 0 0 65535,6 0 0 0" -j ACCEPT`, "ACCEPT", ""},
		{"-j REJECT --reject-with tcp-reset", "REJECT", ""},
		{"-j MASQUERADE", "MASQUERADE", ""},
		{"-p tcp -j MASQUERADE --to-ports 1-2 --random-fully", "MASQUERADE", ""},
		{"-p tcp -j DNAT --to-destination 10.0.0.1", "DNAT", ""},
		{"-p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.9:80", "DNAT", ""},
		{"-p tcp -j DNAT --to-destination 10.0.0.1:80 --random", "DNAT", ""},
		{"-j MARK", "MARK", ""},
		{"-j MARK --set-xmark 0x1/0x1 --or-mark 0x2", "MARK", ""},
		{"-m conntrack -j DROP", "DROP", ""},
		{"-m statistic --mode random -j DROP", "DROP", ""},
		{"-m comment --comment one -m comment --comment two -j ACCEPT", "ACCEPT", "one"},
		{`-m comment --comment "a \"quoted\" word" -j ACCEPT`, "ACCEPT", `a "quoted" word`},
		{`-m comment --comment "back\\slash" -j ACCEPT`, "ACCEPT", `back\slash`},
		{"-m comment --comment \"two\nlines\" -j KUBE-SVC-B", "KUBE-SVC-B", "two\nlines"},
		{`-j LOG --log-prefix "a b "`, "LOG", ""},
		{"-j ACCEPT -j DROP", "ACCEPT", ""},
		{"-m", "", ""},
		{"-d", "", ""},
		{"-j", "", ""},
		{"!", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			got := rule(t, tt.spec)
			if got.Foreign != tt.spec {
				t.Errorf("foreign text %q, want %q", got.Foreign, tt.spec)
			}
			if tt.jump == "ACCEPT" && got.Jump == "DROP" { // which of two is not our business
				got.Jump = "ACCEPT"
			}
			if got.Jump != tt.jump || tt.comment != "" && got.Comment == "" {
				t.Errorf("jump %q, comment %q, want %q, %q", got.Jump, got.Comment, tt.jump, tt.comment)
			}
		})
	}
}

func TestParseFollowsRestoreInput(t *testing.T) {
	tests := []struct {
		name, text string
		want       ruleset.Ruleset
	}{
		{"counters are not part of a rule", "*nat\n:A - [5:6]\n[7:8] -A A -j DROP\nCOMMIT\n",
			ruleset.Ruleset{{Table: ruleset.Nat, Name: "A"}: {{Jump: "DROP"}}}},
		{"a chain line empties its chain", "*nat\n:A - [0:0]\n-A A -j DROP\nCOMMIT\n*nat\n:A - [0:0]\n-A A -j ACCEPT\nCOMMIT\n",
			ruleset.Ruleset{{Table: ruleset.Nat, Name: "A"}: {{Jump: "ACCEPT"}}}},
		{"but not a built-in one", "*nat\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n*nat\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n",
			ruleset.Ruleset{{Table: ruleset.Nat, Name: "INPUT"}: {{Jump: "DROP"}, {Jump: "ACCEPT"}}}},
		{"-I inserts at the top or where it says", "*nat\n-A INPUT -j DROP\n-I INPUT -j ACCEPT\n-I INPUT 2 -j RETURN\nCOMMIT\n",
			ruleset.Ruleset{{Table: ruleset.Nat, Name: "INPUT"}: {{Jump: "ACCEPT"}, {Jump: "RETURN"}, {Jump: "DROP"}}}},
		{"-N, -F and -X", "*nat\n-N A\n-N B\n-A A -j DROP\n-A B -j DROP\n-F A\n-X A\n-F B\nCOMMIT\n",
			ruleset.Ruleset{{Table: ruleset.Nat, Name: "B"}: nil}},
		{"rules of a chain need not stand together", "*nat\n:A - [0:0]\n:B - [0:0]\n-A A -j DROP\n-A B -j DROP\n-A A -j ACCEPT\nCOMMIT\n",
			ruleset.Ruleset{
				{Table: ruleset.Nat, Name: "A"}: {{Jump: "DROP"}, {Jump: "ACCEPT"}},
				{Table: ruleset.Nat, Name: "B"}: {{Jump: "DROP"}},
			}},
		{"other tables are skipped", "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j CT --notrack\nCOMMIT\n*filter\n:A - [0:0]\nCOMMIT\n",
			ruleset.Ruleset{{Table: ruleset.Filter, Name: "A"}: nil}},
		{"remarks and blank lines too", "# Generated\n\n*filter\n# x\n\nCOMMIT\r\n# Completed", ruleset.Ruleset{}},
		{"nothing", "", ruleset.Ruleset{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parse(t, tt.text).Rules, sameRules); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseTellsWhichTablesAppeared(t *testing.T) {
	saved := parse(t, "*nat\nCOMMIT\n*filter\nCOMMIT\n*nat\nCOMMIT\n# Table `mangle' is incompatible, use 'nft' tool.\n")
	if diff := cmp.Diff([]ruleset.Table{ruleset.Nat, ruleset.Filter}, saved.Tables); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"mangle"}, saved.Incompatible); diff != "" {
		t.Errorf("incompatible tables (-want +got):\n%s", diff)
	}
}

func TestParseNamesTheBrokenLine(t *testing.T) {
	tests := []struct {
		name, text string
		line       int
		says       string
	}{
		{"a rule before any table", "-A A -j DROP\n", 1, "outside of a table"},
		{"the output of another program", "iptables: command not found\n", 1, "outside of a table"},
		{"truncated", "*nat\n:A - [0:0]\n-A A -j DROP\n", 3, "not complete"},
		{"a table in a table", "*nat\n*filter\n", 2, "before the COMMIT"},
		{"a rule in an unknown chain", "*nat\n\n-A A -j DROP\nCOMMIT\n", 3, "nat/A"},
		{"a chain line without policy", "*nat\n:A\nCOMMIT\n", 2, "policy"},
		{"a chain line without name", "*nat\n: - [0:0]\nCOMMIT\n", 2, "name"},
		{"not a command", "*nat\nnonsense\nCOMMIT\n", 2, "nonsense"},
		{"a command without chain", "*nat\n-A\nCOMMIT\n", 2, "no chain"},
		{"counters alone", "*nat\n[1:2]\nCOMMIT\n", 2, "no chain"},
		{"a command that needs the kernel", "*nat\n-D INPUT -j DROP\nCOMMIT\n", 2, `"-D"`},
		{"an open quote", "*nat\n-A INPUT -m comment --comment \"x -j DROP\nCOMMIT\n", 2, "quote"},
		{"an open quote far from the end", "*nat\n-A INPUT -m comment --comment \"x\n" + strings.Repeat("-A INPUT -j DROP\n", 1000), 2, "quote"},
		{"insertion behind the end", "*nat\n-I INPUT 2 -j DROP\nCOMMIT\n", 2, "position 2"},
		{"insertion at nothing", "*nat\n-I INPUT 0 -j DROP\nCOMMIT\n", 2, "position 0"},
		{"creation of what is there", "*nat\n:A - [0:0]\n-N A\nCOMMIT\n", 3, "nat/A"},
		{"deletion of what is not there", "*nat\n-X A\nCOMMIT\n", 2, "nat/A"},
		{"deletion of a chain with rules", "*nat\n:A - [0:0]\n-A A -j DROP\n-X A\nCOMMIT\n", 4, "has rules"},
		{"deletion of everything", "*nat\n:A - [0:0]\n-X\nCOMMIT\n", 3, "no chain"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ruleset.Parse(strings.NewReader(tt.text))
			perr, ok := errors.AsType[*ruleset.ParseError](err)
			if !ok {
				t.Fatalf("error %v, want a *ParseError", err)
			}
			if perr.Line != tt.line || !strings.Contains(perr.Error(), tt.says) {
				t.Errorf("error %q, want line %d and %q", perr, tt.line, tt.says)
			}
		})
	}
}

// A comment that never ends must not make the parser read the rest over and over.
func TestParseReadsALongLine(t *testing.T) {
	long := "-m comment --comment " + strings.Repeat("x", 200_000) + " -j DROP"
	if got := rule(t, long); got.Foreign != long {
		t.Errorf("a line of %d bytes became %d bytes", len(long), len(got.Foreign))
	}
}
