package netns

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// TestReferenceRules checks the checks: rules that are known to be right pass (TestTracePacket), and each row of
// a table that is not what these rules say is noticed.
func TestReferenceRules(t *testing.T) {
	forEach(t, func(t *testing.T, b iptables.Backend, f ipproto.Family) {
		rules := referenceRules(t, f)
		s := newSession(t, b, f)
		t.Cleanup(s.close)
		s.closeInput(t)
		if _, err := s.Host(lab.Node).Command(strings.NewReader(rules), s.kernel.RestoreCommand, "-w", "5", "--noflush"); err != nil {
			t.Fatal(err)
		}
		s.have = s.saved(t)
		for _, r := range overviewRows() {
			t.Run(r.id, func(t *testing.T) { s.run(t, r.in(f)) })
		}
		for _, r := range wrongRows() {
			t.Run("wrong/"+r.id, func(t *testing.T) { s.mustNotice(t, r.in(f)) })
		}
	})
}

var translation = regexp.MustCompile(`--to-destination (\S+):(\d+)`)

func referenceRules(t *testing.T, f ipproto.Family) string {
	t.Helper()
	rules, err := os.ReadFile("testdata/reference.rules")
	if err != nil {
		t.Fatal(err)
	}
	if f == ipproto.IPv4 {
		return string(rules)
	}
	return sixText(translation.ReplaceAllString(string(rules), "--to-destination [$1]:$2"))
}

// wrongRows want something else than what the rules do.
func wrongRows() []row {
	return []row{
		{id: "untouched, not an endpoint", from: pod, to: tcp("10.0.0.3:80"), want: plain("10.0.0.3:80")},
		{id: "an endpoint, not untouched", from: pod, to: tcp("172.30.0.41:80"), want: untouched},
		{id: "another endpoint", from: pod, to: tcp("172.30.0.41:80"), want: plain("10.180.0.9:80")},
		{id: "another port", from: pod, to: tcp("172.30.0.41:80"), want: plain("10.180.0.1:443")},
		{id: "one of two endpoints", from: pod, to: tcp("172.30.0.44:80"), want: plain("10.180.0.4:80")},
		{id: "two of three endpoints", from: pod, to: tcp("172.30.0.44:80"), want: plain("10.180.0.4:80", "10.180.0.5:80", "10.180.0.6:80")},
		{id: "not masqueraded", from: pod, to: tcp("172.30.0.41:80"), want: masq("10.180.0.1:80")},
		{id: "masqueraded", from: node, to: tcp("192.168.99.22:80"), want: plain("10.180.0.2:80")},
		{id: "dropped, not refused", from: external, to: tcp("192.168.99.22:80"), want: reject},
		{id: "dropped, not untouched", from: external, to: tcp("192.168.99.22:80"), want: untouched},
		{id: "refused, not dropped", from: pod, to: tcp("172.30.0.46:80"), want: drop},
		{id: "refused, not untouched", from: pod, to: tcp("172.30.0.46:80"), want: untouched},
		{id: "untouched, not refused", from: pod, to: tcp("172.30.0.47:80"), want: reject},
		{id: "untouched, not dropped", from: pod, to: tcp("172.30.0.47:80"), want: drop},
	}
}

// mustNotice sends packets until one is not what the row wants.
func (s *session) mustNotice(t *testing.T, r row) {
	t.Helper()
	wait, seen := patience, map[netip.AddrPort]bool{}
	if strings.HasPrefix(r.id, "dropped") {
		wait = quiet
	}
	for range triesFor(len(r.want.endpoints)) {
		o, err := s.Try(r.probe(), wait)
		if err != nil {
			t.Fatal(err)
		}
		if s.differs(t, r, o) != "" {
			return
		}
		seen[o.Answer.At] = true
	}
	if len(seen) == len(r.want.endpoints) {
		t.Errorf("%s passes for %s", r.probe(), r.want)
	}
}
