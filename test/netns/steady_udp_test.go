package netns

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// TestUDPClients runs the real program. Clients that keep their sockets, and send without pause, so that their entries in
// conntrack never expire, go where a new client would go.
func TestUDPClients(t *testing.T) {
	needNamespaces(t)
	path := build(t, "espalier")
	for _, b := range []iptables.Backend{iptables.NFT, iptables.Legacy} {
		for _, f := range ipproto.Families {
			t.Run(b.String()+"/"+f.String(), func(t *testing.T) {
				if _, err := iptables.Open(t.Context(), f, b); err != nil {
					cannot(t, err.Error())
				}
				s := newSiteOf(t, f, b, path)
				s.start(t)
				for _, story := range stories() {
					t.Run(story.name, func(t *testing.T) { story.tell(t, s) })
				}
				t.Run("a node port on an address that the node loses", func(t *testing.T) { addressGoes(t, s) })
			})
		}
	}
}

// story is a Service over time, and where a client of it is answered: by an endpoint ("10.180.50.1:53"), by a host
// ("world", "node") because nothing is translated, or not at all ("refused", "silence").
type story struct {
	name   string
	from   client
	to     string
	events []event
}

type event struct {
	what    string
	service *corev1.Service // nil: none
	ends    []string
	away    bool // the program is not there when it happens, and comes back
	// rules, if not empty, are what another proxy wrote, which is there in place of the program.
	rules string
	// command, if not empty, is what happens on the node instead.
	command string
	answer  string
}

func stories() []story {
	svc := func(options ...serviceOption) *corev1.Service { return service("ns1/udp", "172.30.0.53", options...) }
	plain := func(nodePort int32) serviceOption { return port("p", corev1.ProtocolUDP, 53, nodePort) }
	one, two := "10.180.50.1", "10.180.50.2"
	first, second := one+":5353", two+":5353"
	ends := func(addrs ...string) []string { return addrs }
	at53 := func(ip string) string { return ip + ":53" }
	vip, external8 := "1.2.3.53", "8.8.8.8"
	return []story{
		{"an endpoint is replaced", pod, at53("172.30.0.53"), []event{
			{"it is there", svc(plain(0)), ends(one), false, "", "", first},
			{"it is replaced", svc(plain(0)), ends(two), false, "", "", second},
			{"it drains", svc(plain(0)), ends(two+" draining", one), false, "", "", second},
			{"it stops to serve", svc(plain(0)), ends(two+" gone", one), false, "", "", first},
		}},
		{"to none and back", pod, at53("172.30.0.53"), []event{
			{"one endpoint", svc(plain(0)), ends(one), false, "", "", first},
			{"none", svc(plain(0)), nil, false, "", "", "refused"},
			{"the first endpoint", svc(plain(0)), ends(two), false, "", "", second},
		}},
		{"the client was there before the Service", pod, at53("172.30.0.53"), []event{
			{"no Service", nil, nil, false, "", "", "world"},
			{"a Service without endpoints", svc(plain(0)), nil, false, "", "", "refused"},
			{"its first endpoint", svc(plain(0)), ends(one), false, "", "", first},
			{"the Service is deleted", nil, nil, false, "", "", "world"},
			{"and made again", svc(plain(0)), ends(two), false, "", "", second},
		}},
		{"a process of the node", node, at53("172.30.0.53"), []event{
			{"no Service", nil, nil, false, "", "", "world"},
			{"a Service", svc(plain(0)), ends(one), false, "", "", first},
			{"its endpoint is replaced", svc(plain(0)), ends(two), false, "", "", second},
			{"it is deleted", nil, nil, false, "", "", "world"},
		}},
		{"a node port", external, "192.168.0.2:3001", []event{
			{"no Service", nil, nil, false, "", "", "node"},
			{"a node port", svc(nodePort, plain(3001)), ends(one), false, "", "", first},
			{"its endpoint is replaced", svc(nodePort, plain(3001)), ends(two), false, "", "", second},
			{"the last endpoint is gone", svc(nodePort, plain(3001)), nil, false, "", "", "refused"},
			{"there is one again", svc(nodePort, plain(3001)), ends(one), false, "", "", first},
			{"the port is another", svc(nodePort, plain(3002)), ends(one), false, "", "", "node"},
			{"and back", svc(nodePort, plain(3001)), ends(one), false, "", "", first},
		}},
		{"a VIP", external, at53(vip), []event{
			{"it is there", svc(loadBalancer(vip), plain(3001)), ends(one), false, "", "", first},
			{"its endpoint is replaced", svc(loadBalancer(vip), plain(3001)), ends(two), false, "", "", second},
			{"it is taken away", svc(loadBalancer(), plain(3001)), ends(two), false, "", "", "world"},
			{"it is given again", svc(loadBalancer(vip), plain(3001)), ends(two), false, "", "", second},
		}},
		{"an external IP", external, at53(external8), []event{
			{"it is there", svc(externalIP(external8), plain(0)), ends(one), false, "", "", first},
			{"no endpoint", svc(externalIP(external8), plain(0)), nil, false, "", "", "refused"},
			{"another endpoint", svc(externalIP(external8), plain(0)), ends(two), false, "", "", second},
			{"it is taken away", svc(plain(0)), ends(two), false, "", "", "world"},
		}},
		{"while the program is away", pod, at53("172.30.0.53"), []event{
			{"an endpoint", svc(plain(0)), ends(one), false, "", "", first},
			{"it is replaced", svc(plain(0)), ends(two), true, "", "", second},
			{"the Service is deleted", nil, nil, true, "", "", "world"},
		}},
		{"a VIP goes while the program is away", external, at53(vip), []event{
			{"it is there", svc(loadBalancer(vip), plain(3001)), ends(one), false, "", "", first},
			{"it is taken away", svc(loadBalancer(), plain(3001)), ends(one), true, "", "", "world"},
		}},
		{"a node port goes while the program is away", external, "192.168.0.2:3001", []event{
			{"it is there", svc(nodePort, plain(3001)), ends(one), false, "", "", first},
			{"it is another", svc(nodePort, plain(3002)), ends(one), true, "", "", "node"},
		}},
		{"kube-proxy served it, and it goes while nobody is there", pod, at53("172.30.0.53"), []event{
			{"kube-proxy's rules", nil, nil, false, kubeProxys, "", first},
			{"nothing of that is in the cluster", nil, nil, true, "", "", "world"},
		}},
	}
}

// addressGoes: a client of a node port, on an address that the node has no more, goes where a new client would go.
func addressGoes(t *testing.T, s *site) {
	addr := in(s.Family, netip.MustParseAddr("192.168.70.2"))
	if err := s.AddNodeAddress(addr); err != nil {
		t.Fatal(err)
	}
	alias := netip.PrefixFrom(addr, addr.BitLen()).String()
	story{"", external, "192.168.70.2:3001", []event{
		{"a node port", service("ns1/udp", "172.30.0.53", nodePort, port("p", corev1.ProtocolUDP, 53, 3001)), []string{"10.180.50.1"}, false, "", "", "10.180.50.1:5353"},
		{"the address goes", nil, nil, false, "", "ip addr del " + alias + " dev lo", "world"},
	}}.tell(t, s)
}

// kubeProxys are rules in kube-proxy's layout for 172.30.0.53.
const kubeProxys = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-UDP - [0:0]
:KUBE-SEP-UDP - [0:0]
-A KUBE-SERVICES -d 172.30.0.53 -p udp -m comment --comment "ns1/udp:p cluster IP" -m udp --dport 53 -j KUBE-SVC-UDP
-A KUBE-SVC-UDP -m comment --comment "ns1/udp:p" -j KUBE-SEP-UDP
-A KUBE-SEP-UDP -p udp -m comment --comment "ns1/udp:p" -m udp -j DNAT --to-destination 10.180.50.1:5353
COMMIT
`

func (st story) tell(t *testing.T, s *site) {
	socket, err := s.OpenUDP(row{from: st.from, to: udp(st.to)}.in(s.Family).probe())
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	defer s.publish(t, event{})
	for _, e := range st.events {
		if s.running != nil && (e.away || e.rules != "") {
			s.stop(t)
		}
		switch {
		case e.rules != "":
			s.on(t, s.inFamily(e.rules), s.kernel.RestoreCommand, "-w", "5", "--noflush")
		case e.command != "":
			s.on(t, "", strings.Fields(e.command)...)
		default:
			s.publish(t, e)
		}
		if e.away {
			s.start(t)
		}
		want := e.answer
		if strings.Contains(want, ":") {
			want = portIn(s.Family, netip.MustParseAddrPort(want)).String()
		}
		took := s.eventually(t, 5*time.Second, func() string {
			got := s.ask(t, socket)
			if got == want {
				return ""
			}
			return e.what + ": the client meets " + got + ", want " + want
		})
		t.Logf("%s: %s after %v", e.what, want, took.Round(time.Millisecond))
	}
}

// inFamily returns rules of IPv4 as those of the site's family.
func (s *site) inFamily(rules string) string {
	if s.Family == ipproto.IPv4 {
		return rules
	}
	// In rules, an address of IPv6 with a port has brackets.
	rules = strings.ReplaceAll(rules, "10.180.50.1:5353", "[10.180.50.1]:5353")
	return ipv4Text.ReplaceAllStringFunc(rules, func(a string) string { return six(netip.MustParseAddr(a)).String() })
}

// publish writes the Service and its endpoints, or removes it.
func (s *site) publish(t *testing.T, e event) {
	t.Helper()
	if e.service == nil {
		if err := os.Remove(s.path("udp")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return
	}
	c := cluster{e.service}
	if e.ends != nil {
		c = append(c, slice("ns1/udp", targets{}.and("p", corev1.ProtocolUDP, 5353), e.ends...))
	}
	s.put(t, "udp", c)
}

// ask sends one datagram, and says who answers.
func (s *site) ask(t *testing.T, socket *lab.Conn) string {
	t.Helper()
	o, err := socket.Ask(200 * time.Millisecond)
	switch {
	case err != nil:
		t.Fatal(err)
	case o.Verdict == lab.Refused:
		return "refused"
	case o.Verdict != lab.Answered:
		return "silence"
	case o.Answer.By == lab.Endpoints:
		return o.Answer.At.String()
	}
	return string(o.Answer.By)
}
