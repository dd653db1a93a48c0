package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// refusedByLine and refusedByCommit: a Service whose rules the kernel refuses is left out and named; the others are
// programmed in the same sync, and so is this one when it changed. The refusals, with a place for the line, are worded
// as by iptables 1.8.9.
func refusedByLine(t *testing.T, s *site) {
	t.Helper()
	text := `iptables-nft-restore v1.8.9 (nf_tables): \nline %d: RULE_APPEND failed (No such file or directory): rule in chain A\n`
	if s.backend == iptables.Legacy {
		text = `iptables-restore v1.8.9 (legacy): Bad IP address "x"\n\nError occurred at line: %d\n`
	}
	s.checkQuarantine(t, func(address string) { s.refuse(t, address, text, false) })
}

func refusedByCommit(t *testing.T, s *site) {
	t.Helper()
	text := `iptables-nft-restore: line %d failed: No chain/target/match by that name.\n`
	if s.backend == iptables.Legacy {
		text = `iptables-restore: line %d failed\n`
	}
	s.checkQuarantine(t, func(address string) { s.refuse(t, address, text, true) })
}

func (s *site) checkQuarantine(t *testing.T, refuse func(address string)) {
	t.Helper()
	const bad, good = "10.180.66.6", "10.180.66.7"
	refuse(bad)
	files, streams := basics()
	s.putAll(t, files)
	with := func(endpoint string) cluster {
		return cluster{service("ns1/bad", "172.30.0.66", tcpPort("p80", 80, 0)), slice("ns1/bad", target("p80", 80), endpoint)}
	}
	s.put(t, "bad", with(bad))
	s.start(t)
	if why := s.wrongNow(t, streams); why != "" {
		t.Errorf("after the first sync: %s", why)
	}
	log := s.running.log.String()
	if !strings.Contains(log, `The kernel refuses the rules of a Service`) || !strings.Contains(log, `service="ns1/bad"`) {
		t.Error("the Service is not named")
	}
	if strings.Contains(log, "Cannot bring the rules up to date") {
		t.Error("a sync failed")
	}
	s.put(t, "bad", with(good))
	cured := row{from: pod, to: tcp("172.30.0.66:80")}
	s.eventually(t, patience, func() string {
		o, err := s.Try(cured.probe(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		if o.Verdict != lab.Answered || o.Answer.At != on80([]string{good})[0] {
			return told(o)
		}
		return ""
	})
}

// refuse puts a program in front of iptables-restore that refuses input with an address.
func (s *site) refuse(t *testing.T, address, text string, commit bool) {
	t.Helper()
	dir := t.TempDir()
	find := fmt.Sprintf(`grep -nF -m1 -- '%s' "$input" | cut -d: -f1`, address)
	if commit {
		find = fmt.Sprintf(`awk 'index($0, "%s") {bad = 1} bad && /^COMMIT/ {print NR; exit}' "$input"`, address)
	}
	script := fmt.Sprintf(`#!/bin/sh
case "$1" in -V|--version) exec %[1]s "$@";; esac
input=$(mktemp)
trap 'rm -f "$input"' EXIT
cat >"$input"
line=$(%[2]s)
if [ -n "$line" ]; then
	printf '%[3]s' "$line" >&2
	exit 1
fi
%[1]s "$@" <"$input"
`, s.kernel.RestoreCommand, find, text)
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(s.kernel.RestoreCommand)), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "PATH="+dir+":"+os.Getenv("PATH"))
}
