package netns

import (
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// steadyChurn: while endpoints are replaced and Services come and go twenty times a second, no endpoint answers
// for a Service that it does not belong to, or later than shortly after it left.
func steadyChurn(t *testing.T, s *site) {
	t.Helper()
	files, streams := basics()
	s.putAll(t, files)
	const length, each, stale = 4 * time.Second, 50 * time.Millisecond, 2 * time.Second
	var m members
	change := func(round int) {
		now := endpointsFrom(20, 30)[round%10 : round%10+1+round%5]
		m.are(on80(now))
		s.put(t, "changing", cluster{
			service("ns1/changing", "172.30.0.45", tcpPort("p80", 80, 3003)), slice("ns1/changing", target("p80", 80), now...),
		})
		if round%4 < 2 {
			s.put(t, "coming", cluster{
				service("ns1/coming", "172.30.0.47", tcpPort("p80", 80, 0)), slice("ns1/coming", target("p80", 80), "10.180.21.1"),
			})
		} else if err := os.Remove(s.path("coming")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	change(0)
	s.start(t)
	churned := []stream{
		{row: row{id: "changing endpoints answer", from: pod, to: tcp("172.30.0.45:80")}},
		{row: row{id: "changing endpoints answer the node port", from: external, to: tcp("192.168.0.2:3003"), want: outcome{masq: true}}},
	}
	for i := range churned {
		churned[i].fits = func(at netip.AddrPort, begun time.Time) bool { return m.fit(at, begun, stale) }
	}
	coming := stream{
		row: row{id: "a Service comes and goes", from: pod, to: tcp("172.30.0.47:80"), want: plain("10.180.21.1:80")},
		own: on80([]string{"10.180.21.1"}),
	}
	clients := s.connect(t, nothing, append(streams, churned...))
	maybe := s.connect(t, notYet, []stream{coming})
	tick := time.NewTicker(each)
	defer tick.Stop()
	rounds := 0
	for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
		rounds++
		change(rounds)
	}
	last := m.now()
	took := s.eventually(t, stale, func() string {
		seen := map[netip.AddrPort]bool{}
		for range triesFor(len(last)) {
			o, err := s.Try(churned[0].probe(), patience)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(last, o.Answer.At) {
				return told(o) + ": it is no endpoint any more"
			}
			seen[o.Answer.At] = true
		}
		if len(seen) < len(last) {
			return "not all of the last endpoints answer"
		}
		return ""
	})
	t.Logf("%d changes; the last one was in force after %v", rounds, took.Round(time.Millisecond))
	clients.some(t, streams)
	clients.stop(t)
	maybe.stop(t)
}

// members are the endpoints of a Service over time.
type members struct {
	mu   sync.Mutex
	all  []netip.AddrPort
	left map[netip.AddrPort]time.Time
}

func (m *members) are(all []netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == nil {
		m.left = map[netip.AddrPort]time.Time{}
	}
	for _, a := range m.all {
		if !slices.Contains(all, a) {
			m.left[a] = time.Now()
		}
	}
	m.all = all
}

func (m *members) now() []netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all
}

// fit reports whether an endpoint may answer a connection: it is one, or has left not long before.
func (m *members) fit(a netip.AddrPort, begun time.Time, stale time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	left, was := m.left[a]
	return slices.Contains(m.all, a) || was && begun.Before(left.Add(stale))
}
