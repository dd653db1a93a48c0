package netns

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// unfair is the probability below which a fair choice is not believed. With the 24 choices of this file, a
// correct implementation fails less than once in ten million runs.
const unfair = 1e-9

// TestSpread: connections go to all endpoints alike, and with session affinity clients do.
func TestSpread(t *testing.T) {
	forEach(t, func(t *testing.T, b iptables.Backend, f ipproto.Family) {
		s := newSession(t, b, f)
		t.Cleanup(s.close)
		for _, c := range []struct{ endpoints, each int }{{1, 200}, {2, 500}, {3, 400}, {33, 100}, {150, 100}} {
			t.Run(fmt.Sprintf("endpoints=%d", c.endpoints), func(t *testing.T) {
				s.apply(t, spreadService(c.endpoints), nil)
				counts := s.spread(t, c.endpoints, c.endpoints*c.each, func(i int) client { return spreadClient(i % 50) }, nil)
				assertFair(t, counts)
			})
		}
		// A list of clients in the kernel holds 100 addresses, so each endpoint gets far fewer. It outlives the
		// first case, so the second has other clients.
		for _, c := range []struct{ endpoints, each, first int }{{33, 20, 0}, {150, 10, 1000}} {
			t.Run(fmt.Sprintf("affinity/endpoints=%d", c.endpoints), func(t *testing.T) {
				s.apply(t, spreadService(c.endpoints, affinity(3600)), nil)
				home := map[client]netip.AddrPort{}
				who := func(i int) client { return spreadClient(c.first + i) }
				for range 2 {
					assertFair(t, s.spread(t, c.endpoints, c.endpoints*c.each, who, home))
				}
			})
		}
	})
}

func spreadService(endpoints int, options ...serviceOption) cluster {
	var addrs []string
	for i := range endpoints {
		addrs = append(addrs, fmt.Sprintf("10.180.%d.%d", 10+i/100, 1+i%100))
	}
	return cluster{
		service("ns1/svc1", "172.30.0.41", append(options, tcpPort("p80", 80, 0))...),
		slice("ns1/svc1", target("p80", 80), addrs...),
	}
}

func spreadClient(i int) client { return from(lab.Pod, fmt.Sprintf("10.1.%d.%d", i/250, 1+i%250)) }

// spread makes connections and returns how many each endpoint got. With home, a client that comes again must get
// the endpoint that it had before.
func (s *session) spread(t *testing.T, endpoints, connections int, who func(int) client, home map[client]netip.AddrPort) []int {
	t.Helper()
	got := map[netip.AddrPort]int{}
	for i := range connections {
		r := row{from: who(i), to: tcp("172.30.0.41:80")}.in(s.Family)
		o, err := s.Try(r.probe(), patience)
		if err != nil {
			t.Fatal(err)
		}
		if o.Verdict != lab.Answered || o.Answer.By != lab.Endpoints {
			t.Fatalf("%s: %s: want an endpoint\n%s", r.probe(), o, s.explain(t, r))
		}
		if was, again := home[r.from]; again && was != o.Answer.At {
			t.Fatalf("%s went to %s, and before to %s", r.probe(), o.Answer.At, was)
		}
		if home != nil {
			home[r.from] = o.Answer.At
		}
		got[o.Answer.At]++
	}
	if len(got) > endpoints {
		t.Fatalf("%d endpoints answered, want %d", len(got), endpoints)
	}
	counts := make([]int, 0, endpoints)
	for _, n := range got {
		counts = append(counts, n)
	}
	return append(counts, make([]int, endpoints-len(got))...)
}

func sum(counts []int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

func assertFair(t *testing.T, counts []int) {
	t.Helper()
	if p := chiSquared(counts); p < unfair {
		t.Errorf("a fair choice is like this with probability %.1e: %v", p, counts)
	}
	// One endpoint without connections is lost among the noise of many, but cannot happen by chance.
	if expected := sum(counts) / len(counts); expected >= 100 && slices.Contains(counts, 0) {
		t.Errorf("an endpoint got none of %d connections: %v", sum(counts), counts)
	}
}
