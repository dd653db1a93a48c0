package netns

import (
	"strings"
	"testing"
)

// steadyRestart: a restart with the right rules in the kernel writes nothing, and nobody notices it.
func steadyRestart(t *testing.T, s *site) {
	t.Helper()
	files, streams := basics()
	s.putAll(t, files)
	s.start(t)
	rules, before := s.saved(t), s.stamp(t)
	clients := s.connect(t, nothing, streams)
	clients.some(t, streams)
	s.stop(t)
	clients.some(t, streams)
	// The stamps of the legacy backend do not tell when as much is written as stood there before.
	s.refuse(t, "COMMIT", `iptables-restore: line %d failed\n`, false)
	s.start(t)
	clients.some(t, streams)
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
