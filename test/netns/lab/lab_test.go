package lab

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"espalier/proxier/ipproto"
)

const (
	patience = 10 * time.Second       // for what must come
	quiet    = 300 * time.Millisecond // for what must not
)

func newLab(t *testing.T, f ipproto.Family) *Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("builds network namespaces: run without -short")
	}
	if err := Usable(); err != nil {
		if os.Getenv("NETNS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l, err := New(config(f))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func config(f ipproto.Family) Config {
	c := Config{Family: f, Ports: []uint16{80, 3001}}
	if f == ipproto.IPv4 {
		c.Node = addrs("192.168.0.2")
		c.Routes = map[Host][]netip.Prefix{
			Pod: prefixes("10.0.0.2/32"), Ext: prefixes("203.0.113.2/32"), Endpoints: prefixes("10.180.0.0/16"),
		}
	} else {
		c.Node = addrs("2001:db8::1")
		c.Routes = map[Host][]netip.Prefix{
			Pod: prefixes("fd00:10::2/128"), Ext: prefixes("2600:5200::1/128"), Endpoints: prefixes("fd00:10:180::/48"),
		}
	}
	return c
}

func addrs(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// see sends a probe and describes what came of it, without the port that the kernel chose for the source.
func see(t *testing.T, l *Lab, p ipproto.Proto, from Host, src, to string, wait time.Duration) string {
	t.Helper()
	o, err := l.Try(Probe{From: from, Src: netip.MustParseAddr(src), To: netip.MustParseAddrPort(to), Proto: p}, wait)
	if err != nil {
		t.Fatal(err)
	}
	if o.Verdict != Answered {
		return o.String()
	}
	return strings.Join([]string{string(o.Answer.By), o.Answer.At.String(), o.Answer.Peer.Addr().String()}, " ")
}

func TestPacketsGoWhereTheyAreRouted(t *testing.T) {
	cases := []struct {
		name string
		from Host
		src  string
		to   string
		want string
	}{
		{"pod to endpoint", Pod, "10.0.0.2", "10.180.0.1:80", "eps 10.180.0.1:80 10.0.0.2"},
		{"pod to nowhere", Pod, "10.0.0.2", "172.30.0.41:80", "world 172.30.0.41:80 10.0.0.2"},
		{"client to node", Ext, "203.0.113.2", "192.168.0.2:3001", "node 192.168.0.2:3001 203.0.113.2"},
		{"node to endpoint", Node, "192.168.0.2", "10.180.0.1:80", "eps 10.180.0.1:80 192.168.0.2"},
		{"node to itself", Node, "127.0.0.1", "127.0.0.1:80", "node 127.0.0.1:80 127.0.0.1"},
		{"endpoint to itself, by way of the node", Endpoints, "10.180.0.1", "10.180.0.1:80", "eps 10.180.0.1:80 10.180.0.1"},
		{"any address of the world", World, "1.2.3.4", "192.168.0.2:3001", "node 192.168.0.2:3001 1.2.3.4"},
		{"pod to node, IPv6", Pod, "fd00:10::2", "[2001:db8::1]:3001", "node [2001:db8::1]:3001 fd00:10::2"},
		{"pod to endpoint, IPv6", Pod, "fd00:10::2", "[fd00:10:180::2:1]:80", "eps [fd00:10:180::2:1]:80 fd00:10::2"},
		{"pod to nowhere, IPv6", Pod, "fd00:10::2", "[fd00:172:30::41]:80", "world [fd00:172:30::41]:80 fd00:10::2"},
		{"node to itself, IPv6", Node, "::1", "[::1]:80", "node [::1]:80 ::1"},
	}
	four, six := newLab(t, ipproto.IPv4), newLab(t, ipproto.IPv6)
	both, err := four.Join(config(ipproto.IPv6))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(both.Close)
	for _, labs := range []struct {
		name      string
		four, six *Lab
	}{{"a node of each family", four, six}, {"a node of both", four, both}} {
		for _, c := range cases {
			l := labs.four
			if ipproto.FamilyOf(netip.MustParseAddr(c.src)) == ipproto.IPv6 {
				l = labs.six
			}
			for _, proto := range ipproto.Protos {
				t.Run(labs.name+"/"+c.name+"/"+proto.String(), func(t *testing.T) {
					if got := see(t, l, proto, c.from, c.src, c.to, patience); got != c.want {
						t.Errorf("got %s, want %s", got, c.want)
					}
				})
			}
		}
	}
}

// What a rule does to a packet must be told apart: refused by a rule, refused by a closed port, lost.
func TestVerdictsAreToldApart(t *testing.T) {
	commands := map[ipproto.Family]string{ipproto.IPv4: "iptables-nft", ipproto.IPv6: "ip6tables-nft"}
	type probe struct {
		from    Host
		src, to string
	}
	cases := []struct {
		family   ipproto.Family
		rejected []probe
		closed   probe
		dropped  probe
	}{
		{
			ipproto.IPv4,
			[]probe{{Pod, "10.0.0.2", "172.30.0.41:80"}, {Node, "192.168.0.2", "172.30.0.41:80"}, {Node, "127.0.0.1", "192.168.0.2:3001"}},
			probe{Ext, "203.0.113.2", "192.168.0.2:81"}, probe{Pod, "10.0.0.2", "172.30.0.42:80"},
		},
		{
			ipproto.IPv6,
			[]probe{{Pod, "fd00:10::2", "[fd00:172:30::41]:80"}, {Node, "2001:db8::1", "[fd00:172:30::41]:80"}, {Node, "::1", "[2001:db8::1]:3001"}},
			probe{Ext, "2600:5200::1", "[2001:db8::1]:81"}, probe{Pod, "fd00:10::2", "[fd00:172:30::42]:80"},
		},
	}
	for _, c := range cases {
		l := newLab(t, c.family)
		rejected := netip.MustParseAddrPort(c.rejected[0].to).Addr().String()
		dropped := netip.MustParseAddrPort(c.dropped.to).Addr().String()
		for _, rule := range []string{
			"-A FORWARD -d " + rejected + " -j REJECT", "-A OUTPUT -d " + rejected + " -j REJECT",
			"-A INPUT -p tcp --dport 3001 -j REJECT", "-A INPUT -p udp --dport 3001 -j REJECT",
			"-A INPUT -p sctp --dport 3001 -j REJECT", "-A FORWARD -d " + dropped + " -j DROP",
		} {
			argv := append([]string{commands[c.family]}, strings.Fields(rule)...)
			if _, err := l.Host(Node).Command(nil, argv...); err != nil {
				t.Fatal(err)
			}
		}
		for _, proto := range ipproto.Protos {
			t.Run(c.family.String()+"/"+proto.String(), func(t *testing.T) {
				for _, p := range c.rejected {
					for range 200 { // more than ICMP is limited to by default
						if got := see(t, l, proto, p.from, p.src, p.to, patience); got != "refused by ICMP" {
							t.Fatalf("%s to %s: got %s, want refused by ICMP", p.src, p.to, got)
						}
					}
				}
				if got := see(t, l, proto, c.dropped.from, c.dropped.src, c.dropped.to, quiet); got != "silence" {
					t.Errorf("dropped: got %s, want silence", got)
				}
				if proto != ipproto.TCP {
					return
				}
				if got := see(t, l, proto, c.closed.from, c.closed.src, c.closed.to, patience); got != "reset" {
					t.Errorf("closed port: got %s, want reset", got)
				}
			})
		}
	}
}

func TestOpenConnectionAnswersAgain(t *testing.T) {
	l := newLab(t, ipproto.IPv4)
	p := Probe{From: Pod, Src: netip.MustParseAddr("10.0.0.2"), To: netip.MustParseAddrPort("10.180.0.1:80"), Proto: ipproto.TCP}
	c, first, err := l.Open(p, patience)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		t.Fatalf("got %s, want an open connection", first)
	}
	defer c.Close()
	second, err := c.Again(patience)
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Errorf("first answer %v, second %v", first, second)
	}
}
