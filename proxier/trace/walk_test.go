package trace

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// node is the host of all tests.
var node = Host{Addrs: []netip.Addr{addr("192.168.0.2"), addr("192.168.1.2"), addr("192.168.99.11"), addr("2001:db8::1")}}

// remote is a TCP packet that arrives by eth0; own is one that a process of the node sends.
func remote(src, dst string) Packet {
	p := own(src, dst)
	p.In = "eth0"
	return p
}

func own(src, dst string) Packet {
	ap := netip.MustParseAddrPort(dst)
	return Packet{Src: addr(src), Dst: ap.Addr(), DstPort: ap.Port(), Proto: ipproto.TCP}
}

// outcomes returns the outcomes as text, and fails if they are not a distribution.
func outcomes(t *testing.T, rs ruleset.Ruleset, h Host, p Packet) []string {
	t.Helper()
	r, err := Walk(rs, h, p)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	sum := 0.0
	for _, o := range r.Outcomes {
		paths := 0.0
		for _, p := range o.Paths {
			paths += p.Probability
		}
		if math.Abs(paths-o.Probability) > 1e-12 {
			t.Errorf("%v: its paths sum to %v", o, paths)
		}
		sum += o.Probability
		all = append(all, o.String())
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("probabilities sum to %v", sum)
	}
	return all
}

func check(t *testing.T, rs ruleset.Ruleset, h Host, p Packet, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, outcomes(t, rs, h, p)); diff != "" {
		t.Errorf("%s -> %s (-want +got):\n%s", p.Src, netip.AddrPortFrom(p.Dst, p.DstPort), diff)
	}
}

func TestWalkThroughReferenceRules(t *testing.T) {
	const pod, ext, host = "10.0.0.2", "203.0.113.2", "192.168.0.2"
	for _, tt := range []struct {
		name   string
		packet Packet
		want   []string
	}{
		{"pod to pod is nobody's", remote(pod, "10.0.0.3:80"), []string{"none"}},
		{"pod to cluster IP", remote(pod, "172.30.0.41:80"), []string{"DNAT to 10.180.0.1:80"}},
		{"pod to two endpoints", remote(pod, "172.30.0.44:80"), []string{"DNAT to 10.180.0.4:80 (50 %)", "DNAT to 10.180.0.5:80 (50 %)"}},
		{"node to external IP takes the short-cut", own(host, "192.168.99.22:80"), []string{"DNAT to 10.180.0.2:80, masqueraded"}},
		{"off-cluster to external IP without local endpoint", remote(ext, "192.168.99.22:80"), []string{"DROP"}},
		{"off-cluster to node port without local endpoint", remote(ext, "192.168.0.2:3001"), []string{"DROP"}},
		{"node to health check", own(host, "192.168.0.2:30000"), []string{"ACCEPT"}},
		{"pod to health check", remote(pod, "192.168.0.2:30000"), []string{"ACCEPT"}},
		{"pod to cluster IP without endpoints", remote(pod, "172.30.0.46:80"), []string{"REJECT"}},
		{"node to cluster IP without endpoints", own(host, "172.30.0.46:80"), []string{"REJECT"}},
		{"off-cluster to cluster IP", remote(ext, "172.30.0.41:80"), []string{"DNAT to 10.180.0.1:80, masqueraded"}},
		{"node to cluster IP", own(host, "172.30.0.41:80"), []string{"DNAT to 10.180.0.1:80, masqueraded"}},
		{"endpoint to itself", remote("10.180.0.1", "172.30.0.41:80"), []string{"DNAT to 10.180.0.1:80, masqueraded"}},
		{
			"endpoint to itself and its twin", remote("10.180.0.5", "172.30.0.44:80"),
			[]string{"DNAT to 10.180.0.4:80 (50 %)", "DNAT to 10.180.0.5:80, masqueraded (50 %)"},
		},
		{"another port of the cluster IP", remote(pod, "172.30.0.41:443"), []string{"none"}},
		{"loopback to node port", own("127.0.0.1", "127.0.0.1:3001"), []string{"DNAT to 10.180.0.2:80, masqueraded"}},
		{"martian", remote("192.168.0.77", "127.0.0.1:8080"), []string{"DROP"}},
		{"loopback to itself", own("127.0.0.1", "127.0.0.1:8080"), []string{"none"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, Attach(reference()), node, tt.packet, tt.want...)
		})
	}
}

// The filter table rejects for destinations outside in INPUT and FORWARD only, and for cluster IPs in FORWARD
// and OUTPUT only.
func TestHooksDecideWhatIsRejected(t *testing.T) {
	rs := base()
	rs[filter(ruleset.Services)] = []ruleset.Rule{with(to("172.30.0.41", 80), ruleset.Reject)}
	rs[filter(ruleset.ExternalServices)] = []ruleset.Rule{
		with(to("1.2.3.4", 80), ruleset.Reject),
		{DstLocal: true, Proto: ipproto.TCP, DstPorts: ruleset.Port(3001), Jump: ruleset.Reject},
	}
	rs = Attach(rs)
	check(t, rs, node, own("192.168.0.2", "1.2.3.4:80"), "none")
	check(t, rs, node, remote("10.0.0.2", "1.2.3.4:80"), "REJECT")
	check(t, rs, node, own("192.168.0.2", "192.168.0.2:3001"), "REJECT")
	check(t, rs, node, own("192.168.0.2", "172.30.0.41:80"), "REJECT")

	vipHere := Host{Addrs: append(slices.Clone(node.Addrs), addr("1.2.3.4"))}
	check(t, rs, vipHere, own("192.168.0.2", "1.2.3.4:80"), "REJECT")
}

func TestForwardPolicyDrop(t *testing.T) {
	h := node
	h.Drops = []ruleset.Chain{filter("FORWARD")}
	rs := Attach(reference())
	check(t, rs, h, remote("203.0.113.2", "172.30.0.41:80"), "DNAT to 10.180.0.1:80, masqueraded") // accepted by its mark
	check(t, rs, h, remote("10.0.0.2", "172.30.0.41:80"), "DROP")
	check(t, rs, h, own("192.168.0.2", "172.30.0.41:80"), "DNAT to 10.180.0.1:80, masqueraded")

	reply := remote("10.180.0.1", "203.0.113.2:40000")
	reply.State = ruleset.StateEstablished | ruleset.StateDNAT
	check(t, rs, h, reply, "ACCEPT")
}

func TestEstablishedPacketsSeeNoNat(t *testing.T) {
	rs := Attach(reference())
	p := remote("10.0.0.2", "172.30.0.41:80")
	p.State = ruleset.StateEstablished
	check(t, rs, node, p, "ACCEPT")
	p.State = ruleset.StateInvalid
	check(t, rs, node, p, "DROP")

	p = remote("203.0.113.2", "192.168.99.22:80") // an old flow is not cut by the DROP for new ones
	p.State = ruleset.StateEstablished
	check(t, rs, node, p, "ACCEPT")
}

// A packet that arrives for an endpoint in the network namespace of the node never leaves, so nothing rewrites
// its source. One that the node sends to itself passes POSTROUTING on its way to lo.
func TestEndpointOnTheNode(t *testing.T) {
	rs := base()
	rs[nat(ruleset.Services)] = []ruleset.Rule{with(to("172.30.0.41", 80), "KUBE-SVC-1")}
	rs[nat("KUBE-SVC-1")] = []ruleset.Rule{toMasq, {Proto: ipproto.TCP, Jump: ruleset.DNAT, To: netip.MustParseAddrPort("192.168.0.2:8080")}}
	rs[filter(ruleset.NodePorts)] = []ruleset.Rule{{Proto: ipproto.TCP, DstPorts: ruleset.Port(9), Jump: ruleset.Accept}}
	check(t, Attach(rs), node, remote("10.0.0.2", "172.30.0.41:80"), "DNAT to 192.168.0.2:8080")
	check(t, Attach(rs), node, own("192.168.1.2", "172.30.0.41:80"), "DNAT to 192.168.0.2:8080, masqueraded")

	rs[filter(ruleset.ProxyFirewall)] = []ruleset.Rule{{OrigDst: cidr("172.30.0.41"), In: "lo", Jump: ruleset.Drop}}
	check(t, Attach(rs), node, own("192.168.1.2", "172.30.0.41:80"), "DROP")
	check(t, Attach(rs), node, remote("10.0.0.2", "172.30.0.41:80"), "DNAT to 192.168.0.2:8080")
}

// inChain walks one packet through rules of filter INPUT, and returns the verdict of the only outcome.
func inChain(t *testing.T, p Packet, rules ...ruleset.Rule) Verdict {
	t.Helper()
	r, err := Walk(ruleset.Ruleset{filter("INPUT"): rules}, node, p)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Outcomes) != 1 {
		t.Fatalf("outcomes: %v", r.Outcomes)
	}
	return r.Outcomes[0].Verdict
}

func TestMatches(t *testing.T) {
	p := remote("10.0.0.2", "192.168.0.2:80")
	p.Mark = 0x4400
	p.OrigDst = addr("172.30.0.41")
	p.State = ruleset.StateNew | ruleset.StateDNAT
	p.Recent = map[string]bool{"SEEN": true}
	six := remote("fd00:10::2", "[2001:db8::1]:80")
	six.Proto = ipproto.UDP
	lo := own("127.0.0.1", "127.0.0.1:80")
	icmp := remote("10.0.0.2", "192.168.0.2:0")
	icmp.Proto = 0

	for _, tt := range []struct {
		name   string
		packet Packet
		rule   ruleset.Rule
		want   bool
	}{
		{"nothing asked", p, ruleset.Rule{}, true},
		{"source", p, ruleset.Rule{Src: cidr("10.0.0.0/8")}, true},
		{"other source", p, ruleset.Rule{Src: cidr("10.1.0.0/16")}, false},
		{"not this source", p, ruleset.Rule{Src: cidr("10.0.0.0/8"), NotSrc: true}, false},
		{"not another source", p, ruleset.Rule{Src: cidr("10.1.0.0/16"), NotSrc: true}, true},
		{"every source", p, ruleset.Rule{Src: cidr("0.0.0.0/0")}, true},
		{"destination", p, ruleset.Rule{Dst: cidr("192.168.0.2")}, true},
		{"not this destination", p, ruleset.Rule{Dst: cidr("192.168.0.2"), NotDst: true}, false},
		{"not another destination", p, ruleset.Rule{Dst: cidr("127.0.0.0/8"), NotDst: true}, true},
		{"IPv6 source", six, ruleset.Rule{Src: cidr("fd00:10::/64")}, true},
		{"IPv6 destination", six, ruleset.Rule{Dst: cidr("2001:db8::2")}, false},
		{"IPv6 not loopback", six, ruleset.Rule{Dst: cidr("::1"), NotDst: true}, true},

		{"protocol", p, ruleset.Rule{Proto: ipproto.TCP}, true},
		{"other protocol", p, ruleset.Rule{Proto: ipproto.SCTP}, false},
		{"port", p, ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Port(80)}, true},
		{"port of other protocol", six, ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Port(80)}, false},
		{"other port", p, ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Port(81)}, false},
		{"port first of range", p, ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Ports{First: 80, Last: 90}}, true},
		{"port last of range", p, ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Ports{First: 70, Last: 80}}, true},
		{"port below range", p, ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Ports{First: 81, Last: 90}}, false},
		{"port above range", p, ruleset.Rule{Proto: ipproto.TCP, DstPorts: ruleset.Ports{First: 0, Last: 79}}, false},
		{"ports without protocol are not written", p, ruleset.Rule{DstPorts: ruleset.Port(81)}, true},
		{"ping has no protocol of ours", icmp, ruleset.Rule{Proto: ipproto.TCP}, false},
		{"ping matches an address", icmp, ruleset.Rule{Dst: cidr("192.168.0.2")}, true},

		{"interface", p, ruleset.Rule{In: "eth0"}, true},
		{"interface is compared whole", p, ruleset.Rule{In: "eth"}, false},
		{"interface prefix", p, ruleset.Rule{In: "eth+"}, true},
		{"interface prefix may be all", p, ruleset.Rule{In: "eth0+"}, true},
		{"other interface prefix", p, ruleset.Rule{In: "cali+"}, false},
		{"not this interface", p, ruleset.Rule{In: "eth0", NotIn: true}, false},
		{"not another interface", p, ruleset.Rule{In: "cali+", NotIn: true}, true},
		{"what the node sends itself comes by lo", lo, ruleset.Rule{In: "lo"}, true},

		{"source of the node", p, ruleset.Rule{SrcLocal: true}, false},
		{"destination of the node", p, ruleset.Rule{DstLocal: true}, true},
		{"loopback is of the node", lo, ruleset.Rule{SrcLocal: true, DstLocal: true}, true},

		{"state", p, ruleset.Rule{States: ruleset.StateNew}, true},
		{"one state of several", p, ruleset.Rule{States: ruleset.StateEstablished | ruleset.StateDNAT}, true},
		{"other states", p, ruleset.Rule{States: ruleset.StateEstablished | ruleset.StateRelated}, false},
		{"none of these states", p, ruleset.Rule{States: ruleset.StateEstablished | ruleset.StateDNAT, NotStates: true}, false},
		{"not translated", lo, ruleset.Rule{States: ruleset.StateDNAT, NotStates: true}, true},
		{"original destination", p, ruleset.Rule{OrigDst: cidr("172.30.0.0/16")}, true},
		{"current destination is not the original", p, ruleset.Rule{OrigDst: cidr("192.168.0.2")}, false},
		{"untranslated destination is the original", lo, ruleset.Rule{OrigDst: cidr("127.0.0.1")}, true},

		{"mark under mask", p, ruleset.Rule{Mark: ruleset.Mark{Value: 0x4000, Mask: 0x4000}}, true},
		{"mark under wider mask", p, ruleset.Rule{Mark: ruleset.Mark{Value: 0x4000, Mask: 0xff00}}, false},
		{"mark bit must be clear", p, ruleset.Rule{Mark: ruleset.Mark{Value: 0, Mask: 0x0400}}, false},
		{"not this mark", p, ruleset.Rule{Mark: ruleset.Mark{Value: 0x4000, Mask: 0x4000}, NotMark: true}, false},
		{"not another mark", p, ruleset.Rule{Mark: ruleset.Mark{Value: 0x8000, Mask: 0x8000}, NotMark: true}, true},

		{"hairpin", lo, ruleset.Rule{Hairpin: true}, true},
		{"no hairpin", p, ruleset.Rule{Hairpin: true}, false},
		{"seen recently", p, ruleset.Rule{Recent: ruleset.Recent{List: "SEEN", Check: true}}, true},
		{"not seen recently", p, ruleset.Rule{Recent: ruleset.Recent{List: "OTHER", Check: true}}, false},
		{"entering a list asks nothing", p, ruleset.Rule{Recent: ruleset.Recent{List: "OTHER", Set: true}}, true},
		{"a counter asks nothing", p, ruleset.Rule{Acct: "packets"}, true},

		{"all matches must hold", p, ruleset.Rule{Src: cidr("10.0.0.0/8"), Proto: ipproto.UDP}, false},
		{"a share of nothing", p, ruleset.Rule{Share: ruleset.Share{Num: 0, Den: 1}}, false},
		{"a share of all", p, ruleset.Rule{Share: ruleset.Share{Num: 1, Den: 1}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := inChain(t, tt.packet, with(tt.rule, ruleset.Drop)) == Drop
			if got != tt.want {
				t.Errorf("rule %q matches: %v", tt.rule.Text(ipproto.FamilyOf(tt.packet.Src)), got)
			}
		})
	}
}

func TestNoInputInterfaceOnTheWayOut(t *testing.T) {
	for _, tt := range []struct {
		rule ruleset.Rule
		want Verdict
	}{
		{ruleset.Rule{In: "lo", Jump: ruleset.Drop}, None},
		{ruleset.Rule{In: "cali+", Jump: ruleset.Drop}, None},
		{ruleset.Rule{In: "cali+", NotIn: true, Jump: ruleset.Drop}, Drop},
	} {
		for _, c := range []ruleset.Chain{nat("OUTPUT"), filter("OUTPUT"), nat("POSTROUTING")} {
			r, err := Walk(ruleset.Ruleset{c: {tt.rule}}, node, own("192.168.0.2", "10.0.0.2:80"))
			if err != nil || r.Outcomes[0].Verdict != tt.want {
				t.Errorf("%s %q: %v, %v, want %v", c, tt.rule.Text(ipproto.IPv4), r.Outcomes, err, tt.want)
			}
		}
	}
}

func TestMarkArithmetic(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before uint32
		set    ruleset.Mark
		after  uint32
	}{
		{"or keeps other bits", 0x0001, ruleset.Mark{Value: 0x4000, Mask: 0x4000}, 0x4001},
		{"or is idempotent", 0x4000, ruleset.Mark{Value: 0x4000, Mask: 0x4000}, 0x4000},
		{"xor clears a set bit", 0x4001, ruleset.Mark{Value: 0x4000}, 0x0001},
		{"xor sets a clear bit", 0x0001, ruleset.Mark{Value: 0x4000}, 0x4001},
		{"set under mask", 0xff, ruleset.Mark{Value: 0x05, Mask: 0x0f}, 0xf5},
		{"value outside mask flips", 0x10, ruleset.Mark{Value: 0x11, Mask: 0x0f}, 0x01},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := remote("10.0.0.2", "192.168.0.2:80")
			p.Mark = tt.before
			got := inChain(t, p,
				ruleset.Rule{SetMark: tt.set, Jump: ruleset.MarkTarget},
				ruleset.Rule{Mark: ruleset.Mark{Value: tt.after, Mask: 0xffffffff}, Jump: ruleset.Accept})
			if got != Accept {
				t.Errorf("the mark is not %#x", tt.after)
			}
		})
	}
}

func TestReturnGoesOnAfterTheJump(t *testing.T) {
	rs := ruleset.Ruleset{
		filter("INPUT"): {{Jump: "A"}, {Jump: ruleset.Reject}},
		filter("A"):     {{Jump: "B"}, {Src: cidr("10.0.0.2"), Jump: ruleset.Drop}},
		filter("B"):     {{Jump: ruleset.Return}, {Jump: ruleset.Accept}},
	}
	check(t, rs, node, remote("10.0.0.2", "192.168.0.2:80"), "DROP")
	check(t, rs, node, remote("10.0.0.3", "192.168.0.2:80"), "REJECT")

	rs[filter("INPUT")] = []ruleset.Rule{{Jump: ruleset.Return}, {Jump: ruleset.Drop}}
	check(t, rs, node, remote("10.0.0.2", "192.168.0.2:80"), "none")
	h := node
	h.Drops = []ruleset.Chain{filter("INPUT")}
	check(t, rs, h, remote("10.0.0.2", "192.168.0.2:80"), "DROP")
}

func TestAcceptEndsOneHookOnly(t *testing.T) {
	rs := ruleset.Ruleset{
		nat("PREROUTING"): {{Jump: ruleset.Accept}, {Jump: ruleset.DNAT, To: netip.MustParseAddrPort("10.0.0.9:80")}},
		filter("FORWARD"): {{Src: cidr("10.0.0.2"), Jump: ruleset.Drop}},
	}
	check(t, rs, node, remote("10.0.0.2", "10.0.0.3:80"), "DROP")
	check(t, rs, node, remote("10.0.0.4", "10.0.0.3:80"), "none") // accepted in nat says nothing
}

func TestForks(t *testing.T) {
	chain := func(n int) []ruleset.Rule {
		var rules []ruleset.Rule
		for i := range n {
			rules = append(rules, ruleset.Rule{
				Share: ruleset.OneIn(n - i), Proto: ipproto.TCP, Jump: ruleset.DNAT,
				To: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80),
			})
		}
		return rules
	}
	for _, n := range []int{1, 2, 3, 33, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r, err := Walk(ruleset.Ruleset{nat("PREROUTING"): chain(n)}, node, remote("10.0.0.2", "172.30.0.41:80"))
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Outcomes) != n {
				t.Fatalf("%d outcomes, want %d", len(r.Outcomes), n)
			}
			for _, o := range r.Outcomes {
				if math.Abs(o.Probability*float64(n)-1) > 1e-9 {
					t.Errorf("%v: want 1 in %d", o, n)
				}
			}
			if got := r.Worst(); got != n {
				t.Errorf("at worst %d rules, want %d", got, n)
			}
		})
	}
}

func TestPathsToOneOutcomeAreMerged(t *testing.T) {
	same := ruleset.Rule{Jump: ruleset.DNAT, To: netip.MustParseAddrPort("10.1.0.1:80")}
	quarter := same
	quarter.Share = ruleset.OneIn(4)
	r, err := Walk(ruleset.Ruleset{nat("PREROUTING"): {quarter, same}}, node, remote("10.0.0.2", "172.30.0.41:80"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Outcomes) != 1 || r.Outcomes[0].Probability != 1 || len(r.Outcomes[0].Paths) != 2 {
		t.Fatalf("want one outcome by two paths, got %+v", r.Outcomes)
	}
	if got := []float64{r.Outcomes[0].Paths[0].Probability, r.Outcomes[0].Paths[1].Probability}; !slices.Equal(got, []float64{0.25, 0.75}) {
		t.Errorf("paths taken with %v", got)
	}
}

func TestOnlyTheChosenIsRemembered(t *testing.T) {
	remember := func(list string, s ruleset.Share, to string) ruleset.Rule {
		return ruleset.Rule{
			Share: s, Recent: ruleset.Recent{List: list, Set: true}, Proto: ipproto.TCP,
			Jump: ruleset.DNAT, To: netip.MustParseAddrPort(to),
		}
	}
	look := func(list, to string) ruleset.Rule {
		return ruleset.Rule{
			Recent: ruleset.Recent{List: list, Seconds: 60, Check: true, Set: true}, Proto: ipproto.TCP,
			Jump: ruleset.DNAT, To: netip.MustParseAddrPort(to),
		}
	}
	rs := ruleset.Ruleset{nat("PREROUTING"): {
		look("A", "10.1.0.1:80"), look("B", "10.1.0.2:80"),
		remember("A", ruleset.OneIn(2), "10.1.0.1:80"), remember("B", ruleset.Share{}, "10.1.0.2:80"),
	}}
	p := remote("10.0.0.2", "172.30.0.41:80")
	first, err := Walk(rs, node, p)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Outcomes) != 2 {
		t.Fatalf("want a choice, got %v", first.Outcomes)
	}
	for _, o := range first.Outcomes {
		p.Recent = map[string]bool{}
		for _, list := range o.Paths[0].Remembers {
			p.Recent[list] = true
		}
		if len(p.Recent) != 1 {
			t.Errorf("%v remembers %v, want one list", o, slices.Sorted(maps.Keys(p.Recent)))
		}
		check(t, rs, node, p, "DNAT to "+o.To.String())
	}
}

// A list entered on the way holds the source from then on, in this branch only.
func TestRememberedWithinTheWalk(t *testing.T) {
	enter := ruleset.Rule{Share: ruleset.OneIn(2), Recent: ruleset.Recent{List: "A", Set: true}}
	asked := ruleset.Rule{Recent: ruleset.Recent{List: "A", Check: true}, Jump: ruleset.Drop}
	check(t, ruleset.Ruleset{filter("INPUT"): {enter, asked}}, node, remote("10.0.0.2", "192.168.0.2:80"), "none (50 %)", "DROP (50 %)")
}

func TestHairpinComparesTheTranslatedPacket(t *testing.T) {
	rs := base()
	rs[nat(ruleset.Services)] = []ruleset.Rule{
		{Dst: cidr("172.30.0.41"), Proto: ipproto.TCP, Share: ruleset.OneIn(2), Jump: ruleset.DNAT, To: netip.MustParseAddrPort("10.1.0.1:80")},
		{Dst: cidr("172.30.0.41"), Proto: ipproto.TCP, Jump: ruleset.DNAT, To: netip.MustParseAddrPort("10.1.0.2:80")},
	}
	rs[nat(ruleset.Postrouting)] = slices.Insert(rs[nat(ruleset.Postrouting)], 0,
		ruleset.Rule{States: ruleset.StateDNAT, Hairpin: true, Jump: ruleset.Masquerade})
	check(t, Attach(rs), node, remote("10.1.0.2", "172.30.0.41:80"),
		"DNAT to 10.1.0.1:80 (50 %)", "DNAT to 10.1.0.2:80, masqueraded (50 %)")
	check(t, Attach(rs), node, remote("10.1.0.2", "10.1.0.2:80"), "none") // not translated: not ours
}

func TestTranslationToTheSameIsNone(t *testing.T) {
	rs := ruleset.Ruleset{
		nat("PREROUTING"): {{Jump: ruleset.DNAT, To: netip.MustParseAddrPort("10.1.0.1:80")}},
		filter("FORWARD"): {{States: ruleset.StateDNAT, Jump: ruleset.Drop}},
	}
	check(t, rs, node, remote("10.0.0.2", "10.1.0.1:80"), "DNAT to 10.1.0.1:80")
	check(t, rs, node, remote("10.0.0.2", "10.1.0.1:81"), "DROP")
	check(t, rs, node, remote("10.0.0.2", "10.1.0.2:80"), "DROP")
}

func TestIPv6(t *testing.T) {
	rs := base()
	rs[nat("KUBE-SVC-1")] = []ruleset.Rule{
		{Src: cidr("fd00:10::/64"), NotSrc: true, Jump: ruleset.MarkMasq},
		{Share: ruleset.OneIn(2), Jump: endpoint(rs, "1", "[fd00:10:180::1]:80")},
		{Jump: endpoint(rs, "2", "[fd00:10:180::2:1]:80")},
	}
	rs[nat(ruleset.Services)] = []ruleset.Rule{
		with(to("fd00:172:30::41", 80), "KUBE-SVC-1"),
		{DstLocal: true, Dst: cidr("::1"), NotDst: true, Jump: ruleset.NodePorts},
	}
	rs[nat(ruleset.NodePorts)] = []ruleset.Rule{{Proto: ipproto.TCP, DstPorts: ruleset.Port(3001), Jump: "KUBE-SVC-1"}}
	rs = Attach(rs)
	check(t, rs, node, remote("fd00:10::2", "[fd00:172:30::41]:80"),
		"DNAT to [fd00:10:180::1]:80 (50 %)", "DNAT to [fd00:10:180::2:1]:80 (50 %)")
	check(t, rs, node, remote("2600:5200::1", "[2001:db8::1]:3001"),
		"DNAT to [fd00:10:180::1]:80, masqueraded (50 %)", "DNAT to [fd00:10:180::2:1]:80, masqueraded (50 %)")
	check(t, rs, node, own("::1", "[::1]:3001"), "none")
}

func TestWhatTheKernelRefuses(t *testing.T) {
	deep := func(n int) ruleset.Ruleset {
		rs := ruleset.Ruleset{nat("PREROUTING"): {{Jump: "C1"}}}
		for i := 1; i < n; i++ {
			rs[nat(fmt.Sprint("C", i))] = []ruleset.Rule{{Jump: fmt.Sprint("C", i+1)}}
		}
		rs[nat(fmt.Sprint("C", n))] = []ruleset.Rule{{Jump: ruleset.Accept}}
		return rs
	}
	if _, err := Walk(deep(15), node, remote("10.0.0.2", "10.0.0.3:80")); err != nil {
		t.Errorf("15 nested jumps: %v", err)
	}
	for _, tt := range []struct {
		name  string
		rules ruleset.Ruleset
		want  string
	}{
		{
			"missing chain", ruleset.Ruleset{nat("PREROUTING"): {{Src: cidr("10.9.9.9"), Jump: "ELSEWHERE"}, {Jump: "GONE"}}},
			"trace 10.0.0.2 to 10.0.0.3: rule 2 of nat/PREROUTING: jump to nat/GONE, which does not exist",
		},
		{
			"chain of another table", ruleset.Ruleset{nat("PREROUTING"): {{Jump: "A"}}, filter("A"): nil},
			"trace 10.0.0.2 to 10.0.0.3: rule 1 of nat/PREROUTING: jump to nat/A, which does not exist",
		},
		{
			"loop", ruleset.Ruleset{nat("PREROUTING"): {{Jump: "A"}}, nat("A"): {{Jump: "B"}}, nat("B"): {{Jump: "A"}}},
			"trace 10.0.0.2 to 10.0.0.3: rule 1 of nat/B: jump to nat/A, which led here: a loop",
		},
		{
			"jump to itself", ruleset.Ruleset{nat("PREROUTING"): {{Jump: "A"}}, nat("A"): {{Jump: "A"}}},
			"trace 10.0.0.2 to 10.0.0.3: rule 1 of nat/A: jump to nat/A, which led here: a loop",
		},
		{
			"too deep", deep(16),
			"trace 10.0.0.2 to 10.0.0.3: rule 1 of nat/C15: jump to nat/C16: more than 15 nested jumps",
		},
		{
			"translation in the filter table", ruleset.Ruleset{filter("FORWARD"): {{Jump: ruleset.DNAT}}},
			"trace 10.0.0.2 to 10.0.0.3: rule 1 of filter/FORWARD: -j DNAT is not possible below filter/FORWARD",
		},
		{
			"reject in the nat table", ruleset.Ruleset{nat("PREROUTING"): {{Jump: "A"}}, nat("A"): {{Jump: ruleset.Reject}}},
			"trace 10.0.0.2 to 10.0.0.3: rule 1 of nat/A: -j REJECT is not possible below nat/PREROUTING",
		},
		{
			"masquerade before routing", ruleset.Ruleset{nat("PREROUTING"): {{Jump: ruleset.Masquerade}}},
			"trace 10.0.0.2 to 10.0.0.3: rule 1 of nat/PREROUTING: -j MASQUERADE is not possible below nat/PREROUTING",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Walk(tt.rules, node, remote("10.0.0.2", "10.0.0.3:80"))
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestTooManyWays(t *testing.T) {
	rules := make([]ruleset.Rule, 40) // each doubles the ways
	for i := range rules {
		rules[i] = ruleset.Rule{Share: ruleset.OneIn(2), Comment: fmt.Sprint(i)}
	}
	_, err := Walk(ruleset.Ruleset{filter("INPUT"): rules}, node, remote("10.0.0.2", "192.168.0.2:80"))
	if err == nil || !strings.Contains(err.Error(), "ways through the rules") {
		t.Errorf("error %v", err)
	}
}

func TestPacketOfTwoFamilies(t *testing.T) {
	for _, p := range []Packet{{}, {Src: addr("10.0.0.2")}, {Src: addr("10.0.0.2"), Dst: addr("fd00::1")}} {
		if _, err := Walk(nil, node, p); err == nil {
			t.Errorf("no error for a packet from %v to %v", p.Src, p.Dst)
		}
	}
	mapped := Packet{Src: addr("::ffff:10.0.0.2"), Dst: addr("192.168.0.2"), DstPort: 80, In: "eth0"}
	if got := inChain(t, mapped, ruleset.Rule{Src: cidr("10.0.0.0/8"), Jump: ruleset.Drop}); got != Drop {
		t.Errorf("IPv4 address mapped into IPv6: %v, want it unmapped", got)
	}
}

func TestForeignRulesAreReported(t *testing.T) {
	foreign := ruleset.Rule{Foreign: "-m set --match-set blocked src -j DROP", Jump: ruleset.Drop}
	r, err := Walk(ruleset.Ruleset{filter("INPUT"): {foreign, {Jump: ruleset.Accept}}}, node, remote("10.0.0.2", "192.168.0.2:80"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Outcomes) != 1 || r.Outcomes[0].Verdict != Accept {
		t.Errorf("outcomes %v, want ACCEPT", r.Outcomes)
	}
	if diff := cmp.Diff([]Step{{Chain: filter("INPUT"), Rule: foreign}}, r.Unknown, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("unknown rules (-want +got):\n%s", diff)
	}
}

func TestAttachOrder(t *testing.T) {
	got := map[ruleset.Chain][]string{}
	rs := Attach(ruleset.Ruleset{nat("OUTPUT"): nil})
	for _, c := range hooks {
		for _, r := range rs[c] {
			got[c] = append(got[c], r.Jump)
			if _, ok := rs[ruleset.Chain{Table: c.Table, Name: r.Jump}]; !ok {
				t.Errorf("%s jumps to %s, which is not there", c, r.Jump)
			}
		}
	}
	want := map[ruleset.Chain][]string{
		filter("INPUT"):    {"KUBE-FIREWALL", "KUBE-PROXY-FIREWALL", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"},
		filter("FORWARD"):  {"KUBE-PROXY-FIREWALL", "KUBE-FORWARD", "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"},
		filter("OUTPUT"):   {"KUBE-FIREWALL", "KUBE-PROXY-FIREWALL", "KUBE-SERVICES"},
		nat("PREROUTING"):  {"KUBE-SERVICES"}, // and OUTPUT keeps its own, which are none
		nat("POSTROUTING"): {"KUBE-POSTROUTING"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("built-in chains (-want +got):\n%s", diff)
	}
}
