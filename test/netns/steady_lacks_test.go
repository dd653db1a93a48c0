package netns

import (
	"slices"
	"strings"
	"testing"

	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// lacking: what the kernel lacks costs only what needs it, and no Service is left out for it.
func lacking(f iptables.Feature) func(*testing.T, *site) {
	match := "-m " + string(f)
	if f == iptables.Reject {
		match = "-j REJECT"
	}
	return func(t *testing.T, s *site) {
		t.Helper()
		s.refuse(t, match, `iptables-restore: line %d failed: No chain/target/match by that name.\n`, true)
		files, streams := basics()
		for _, st := range streams {
			if f == iptables.Reject && st.want.kind == kindReject {
				streams = slices.DeleteFunc(streams, func(o stream) bool { return o.id == st.id })
				st.want = drop
				defer func() { checkSilent(t, s, st) }()
			}
		}
		s.putAll(t, files)
		s.put(t, "affinity", cluster{
			service("ns1/pinned", "172.30.0.51", affinity(600), tcpPort("p80", 80, 0)),
			slice("ns1/pinned", target("p80", 80), "10.180.50.1", "10.180.50.2"),
		})
		pinned := stream{row: row{id: "a Service with affinity answers", from: pod, to: tcp("172.30.0.51:80")}}
		pinned.want.endpoints = on80([]string{"10.180.50.1", "10.180.50.2"})
		pinned.own = pinned.want.endpoints
		s.start(t)
		if why := s.wrongNow(t, append(streams, pinned)); why != "" {
			t.Error(why)
		}
		log := s.running.log.String()
		if !strings.Contains(log, "The kernel lacks something that rules use") || !strings.Contains(log, `lacks="`+string(f)+`"`) {
			t.Errorf("it is not said that %s is missing", f)
		}
		if strings.Contains(log, "The kernel refuses the rules of a Service") || strings.Contains(log, "Cannot bring the rules up to date") {
			t.Error("a Service was left out, or a sync failed")
		}
	}
}

// checkSilent makes one connection that must get no answer.
func checkSilent(t *testing.T, s *site, st stream) {
	t.Helper()
	o, err := s.Try(st.probe(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if o.Verdict != lab.Silent {
		t.Errorf("%s: %s, want silence", st.id, told(o))
	}
}
