package netns

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/plan"
	"espalier/test/netns/lab"
)

// onlyARealKernelShows are cases that depend on hooks, on connections and on time.
func onlyARealKernelShows() []table {
	p80 := target("p80", 80)
	noEndpoints := cluster{service("ns1/svc1", "172.30.0.41", loadBalancer("1.2.3.4"), tcpPort("p80", 80, 3001))}
	oneRemote := cluster{
		service("ns1/svc1", "172.30.0.41", loadBalancer("1.2.3.4"), tcpPort("p80", 80, 3001)),
		slice("ns1/svc1", p80, "10.180.0.1 node2"),
	}
	twoEndpoints := cluster{
		service("ns1/svc1", "172.30.0.41", tcpPort("p80", 80, 0)),
		slice("ns1/svc1", p80, "10.180.0.1 local", "10.180.0.2 local"),
	}
	closeForward := func(t *testing.T, s *session) { s.dropByDefault(t, "FORWARD") }
	self := backend("10.180.0.1")
	hairpin := func(id string) []row {
		return []row{
			{id: id + "-clusterip", from: self, to: tcp("172.30.0.41:80"), want: masq("10.180.0.1:80")},
			{id: id + "-vip", from: self, to: tcp("1.2.3.4:80"), want: masq("10.180.0.1:80")},
			{id: id + "-nodeport", from: self, to: tcp("192.168.0.2:3001"), want: masq("10.180.0.1:80")},
		}
	}
	withoutBPF := func(c *plan.Config) { c.NoHairpinMatch = true }
	return []table{
		{steps: []step{{cluster: noEndpoints, rows: []row{
			{id: "K1", from: node, to: tcp("1.2.3.4:80"), want: untouched}, // OUTPUT refuses cluster IPs only
			{id: "K2", from: node, to: tcp("192.168.0.2:3001"), want: reject},
			{id: "K3", from: node, to: tcp("172.30.0.41:80"), want: reject},
		}}}},
		{steps: []step{{cluster: oneRemote, prepare: closeForward, rows: []row{
			{id: "K4", from: external, to: tcp("192.168.0.2:3001"), want: masq("10.180.0.1:80")},
			{id: "K4-vip", from: external, to: tcp("1.2.3.4:80"), want: masq("10.180.0.1:80")},
			{id: "K4-hairpin", from: self, to: tcp("172.30.0.41:80"), want: masq("10.180.0.1:80")},
			// What keeps its source is let through by the network plugin, not by the proxy.
			{id: "K4-unmarked", from: pod, to: tcp("172.30.0.41:80"), want: drop},
		}}}},
		{families: []ipproto.Family{ipproto.IPv4}, steps: []step{{cluster: oneRemote, rows: []row{
			{id: "K5", check: guard(true)},
		}}}},
		{steps: []step{{cluster: stickyService(), rows: []row{{id: "K6", check: staysThroughResync}}}}},
		{steps: []step{{cluster: oneRemote, rows: hairpin("K7")}}},
		{steps: []step{{cluster: oneRemote, config: withoutBPF, rows: hairpin("K7-without-bpf")}}},
		{steps: []step{{cluster: localService("10.180.0.1 local"), rows: []row{
			{id: "K7-local", from: self, to: tcp("1.2.3.4:80"), want: masq("10.180.0.1:80")}, // for the hairpin alone
		}}}},
		{steps: []step{{cluster: twoEndpoints, rows: []row{{id: "K7-two", check: masqueradesItself}}}}},
		{steps: []step{{cluster: twoEndpoints, config: withoutBPF, rows: []row{{id: "K7-two-without-bpf", check: masqueradesItself}}}}},
		{steps: []step{{cluster: localService("10.180.0.1 local"), rows: []row{{id: "K8", check: survivesMove}}}}},
		{steps: []step{{cluster: oneRemote, config: counting, prepare: makeCounters, rows: []row{
			{id: "K9-invalid", check: countsInvalid}, {id: "K9-localhost", check: countsLocalhost},
		}}}},
	}
}

// masqueradesItself: of two endpoints, one that calls its own Service is masqueraded when it gets itself, and is
// not when it gets the other.
func masqueradesItself(t *testing.T, s *session) {
	r := row{from: backend("10.180.0.1"), to: tcp("172.30.0.41:80"), want: plain("10.180.0.1:80", "10.180.0.2:80")}.in(s.Family)
	seen := map[netip.AddrPort]bool{}
	for range triesFor(2) {
		o, err := s.Try(r.probe(), patience)
		if err != nil {
			t.Fatal(err)
		}
		r.want.masq = o.Answer.At.Addr() == r.from.addr
		if wrong := s.differs(t, r, o); wrong != "" {
			t.Fatalf("%s: %s: want %s%s\n%s", r.probe(), o, r.want, wrong, s.explain(t, r))
		}
		seen[o.Answer.At] = true
	}
	if len(seen) != 2 {
		t.Errorf("%s: only %v of both endpoints", r.probe(), seen)
	}
}

// stickyService keeps each client at one of eight endpoints.
func stickyService() cluster {
	var endpoints []string
	for i := range 8 {
		endpoints = append(endpoints, fmt.Sprintf("10.180.0.%d node2", i+1))
	}
	return cluster{
		service("ns1/svc1", "172.30.0.41", affinity(600), tcpPort("p80", 80, 0)),
		slice("ns1/svc1", target("p80", 80), endpoints...),
	}
}

// staysThroughResync: clients keep their endpoint, also when all chains are written again in between. Of a proxy
// without affinity, one in 8^40 runs would pass.
func staysThroughResync(t *testing.T, s *session) {
	var clients []client
	for i := range 20 {
		clients = append(clients, from(lab.Pod, fmt.Sprintf("10.1.0.%d", i+1)))
	}
	first := make([]netip.AddrPort, len(clients))
	for round := range 3 {
		for i, c := range clients {
			r := row{from: c, to: tcp("172.30.0.41:80")}.in(s.Family)
			o, err := s.Try(r.probe(), patience)
			switch {
			case err != nil:
				t.Fatal(err)
			case o.Verdict != lab.Answered || o.Answer.By != lab.Endpoints:
				t.Fatalf("%s: %s: want an endpoint\n%s", r.probe(), o, s.explain(t, r))
			case round == 0:
				first[i] = o.Answer.At
			case o.Answer.At != first[i]:
				t.Errorf("round %d: %s went to %s, and before to %s", round, r.probe(), o.Answer.At, first[i])
			}
		}
		if round == 1 {
			s.rewrite(t)
		}
	}
}

// localService has external policy Local and one endpoint.
func localService(endpoint string) cluster {
	return cluster{
		service("ns1/svc1", "172.30.0.41", loadBalancer("1.2.3.4"), externally(corev1.ServiceExternalTrafficPolicyLocal),
			healthCheck(30000), tcpPort("p80", 80, 3001)),
		slice("ns1/svc1", target("p80", 80), endpoint),
	}
}

// survivesMove: a connection made before the last local endpoint went away lives on, while new ones are dropped.
func survivesMove(t *testing.T, s *session) {
	var open []*lab.Conn
	rows := []row{
		{from: external, to: tcp("192.168.0.2:3001"), want: plain("10.180.0.1:80")},
		{from: external, to: tcp("1.2.3.4:80"), want: plain("10.180.0.1:80")},
	}
	for i, r := range rows {
		rows[i] = r.in(s.Family)
		c, o, err := s.Open(rows[i].probe(), patience)
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			t.Fatalf("%s: %s: want an open connection", rows[i].probe(), o)
		}
		defer c.Close()
		open = append(open, c)
	}
	s.apply(t, localService("10.180.2.1 node2"), nil)
	for i, c := range open {
		if o, err := c.Again(patience); err != nil || s.differs(t, rows[i], o) != "" {
			t.Errorf("%s, established: %v, %v: want %s", rows[i].probe(), o, err, rows[i].want)
		}
		rows[i].want = drop
		s.run(t, rows[i])
	}
}

// Counters: what is dropped as invalid, and who uses node ports on localhost, which kube-proxy wants to give up.

func counting(c *plan.Config) { c.CountInvalid, c.CountLocalhost = true, true }

func makeCounters(t *testing.T, s *session) {
	t.Helper()
	for _, name := range []string{plan.AcctInvalid, plan.AcctLocalhost} {
		if err := s.NewAcct(name); err != nil {
			cannot(t, err.Error()) // a kernel without nfnetlink_acct
		}
	}
}

// counted returns by how much a counter grew meanwhile.
func (s *session) counted(t *testing.T, name string, meanwhile func()) uint64 {
	t.Helper()
	before, err := s.AcctPackets(name)
	if err != nil {
		t.Fatal(err)
	}
	meanwhile()
	after, err := s.AcctPackets(name)
	if err != nil {
		t.Fatal(err)
	}
	return after - before
}

// countsInvalid sends packets with a wrong checksum to an endpoint.
func countsInvalid(t *testing.T, s *session) {
	const packets = 5
	r := row{from: pod, to: tcp("10.180.0.1:80")}.in(s.Family)
	got := s.counted(t, plan.AcctInvalid, func() {
		for range packets {
			if err := s.SendGarbage(r.probe()); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got != packets {
		t.Errorf("counted %d invalid packets, want %d", got, packets)
	}
}

// countsLocalhost connects to the node port on loopback, which is counted, and on another address, which is not.
func countsLocalhost(t *testing.T, s *session) {
	want := uint64(leastTries)
	if s.Family == ipproto.IPv6 {
		want = 0 // there are no node ports on ::1
	}
	got := s.counted(t, plan.AcctLocalhost, func() {
		s.run(t, row{from: loopback, to: tcp("127.0.0.1:3001"), want: masq("10.180.0.1:80")}.in(s.Family))
	})
	if got != want {
		t.Errorf("counted %d connections to localhost, want %d", got, want)
	}
	got = s.counted(t, plan.AcctLocalhost, func() {
		s.run(t, row{from: external, to: tcp("192.168.0.2:3001"), want: masq("10.180.0.1:80")}.in(s.Family))
	})
	if got != 0 {
		t.Errorf("counted %d connections to another address, want none", got)
	}
}
