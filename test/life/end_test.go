package life

import (
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// counters are those of chains and rules, which packets change.
var counters = regexp.MustCompile(`\[\d+:\d+\]`)

// all returns the rules of all tables of both families, without counters and times.
func (s *site) all() string {
	s.t.Helper()
	var text strings.Builder
	for _, save := range []string{"iptables-nft-save", "ip6tables-nft-save"} {
		for _, line := range ruleLines(s.command(save)) {
			text.WriteString(counters.ReplaceAllString(line, "") + "\n")
		}
	}
	return text.String()
}

// Whatever ends the process leaves the rules of every table as they are.
func TestTheEndLeavesAllRules(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		signal syscall.Signal
		status int // -1: by the signal
	}{
		{"TERM", syscall.SIGTERM, 0},
		{"INT", syscall.SIGINT, 0},
		{"HUP", syscall.SIGHUP, -1},
		{"KILL", syscall.SIGKILL, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if signal.Ignored(test.signal) { // as under nohup, whose children would ignore it, too; one that is caught is not inherited
				signal.Notify(make(chan os.Signal, 1), test.signal)
			}
			s := newSite(t)
			s.api.Apply(node("127.0.0.1"))
			s.start("--cluster-cidr=10.180.0.0/16")
			s.served("172.30.0.1")
			s.eventually("log", "true", func() string { return boolText(strings.Contains(s.log.String(), `"Synced" family="ipv6"`)) })
			before := s.all()
			if !strings.Contains(before, "KUBE-SERVICES") {
				t.Fatalf("there are no rules:\n%s", before)
			}
			if err := s.cmd.Process.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			s.exits(test.status, map[bool]string{true: "the rules stay in place", false: ""}[test.status == 0])
			if diff := cmp.Diff(before, s.all()); diff != "" {
				t.Errorf("rules (-before +after):\n%s", diff)
			}
		})
	}
}
