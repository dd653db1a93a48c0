package netns

import (
	"strings"
	"testing"

	"espalier/test/netns/lab"
)

// steadyRestart: a restart with the right rules in the kernel writes nothing, and nobody notices it: neither new
// connections nor those that are open.
func steadyRestart(t *testing.T, s *site) {
	t.Helper()
	files, streams := basics()
	s.putAll(t, files)
	s.start(t)
	rules, before := s.saved(t), s.stamp(t)
	clients := s.connect(t, nothing, streams)
	clients.some(t, streams)
	open := s.openAll(t, streams)
	s.stop(t)
	clients.some(t, streams)
	open.answer(t, "while nobody is there")
	// The stamps of the legacy backend do not tell when as much is written as stood there before.
	s.refuse(t, "COMMIT", `iptables-restore: line %d failed\n`, false)
	s.start(t)
	clients.some(t, streams)
	open.answer(t, "after the restart")
	clients.stop(t)
	if log := s.running.log.String(); strings.Contains(log, "Cannot bring the rules up to date") {
		t.Errorf("the restart tried to write:\n%s", log)
	}
	if after := s.stamp(t); after != before {
		t.Errorf("the restart wrote: before %v, after %v\nlog:\n%s", before, after, &s.running.log)
	}
	if why := s.other(t, rules); why != "" {
		t.Error(why)
	}
}

// openConns are connections that stay open, with what each was first answered.
type openConns map[*lab.Conn]lab.Observation

// openAll opens a connection of each client that is served. They close with the test.
func (s *site) openAll(t *testing.T, streams []stream) openConns {
	t.Helper()
	open := openConns{}
	for _, st := range streams {
		if st.want.kind != toEndpoints {
			continue
		}
		c, o, err := s.Open(st.probe(), patience)
		if err != nil || c == nil {
			t.Fatalf("%s: %s, %v; want an open connection", st.id, told(o), err)
		}
		t.Cleanup(c.Close)
		open[c] = o
	}
	return open
}

// answer asks once more over each connection.
func (e openConns) answer(t *testing.T, when string) {
	t.Helper()
	if len(e) == 0 {
		t.Error("no connection is open")
	}
	for c, first := range e {
		if again, err := c.Again(patience); err != nil || again != first {
			t.Errorf("%s, an open connection is answered %s, %v; want %s", when, told(again), err, told(first))
		}
	}
}
