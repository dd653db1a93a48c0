package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"espalier/test/netns/lab"
)

// betweenTables: two Services, of which one gains its endpoints in the same change in which the other loses them, again and
// again. Whatever table is written first, and however long it takes until the next one is, a connection is answered by an
// endpoint or refused. One that met neither DNAT nor REJECT would leave the node as it is, and so would all that the client
// sends again.
func betweenTables(t *testing.T, s *site) {
	t.Helper()
	s.pauseAfterCommits(t, "0.1")
	const first, second = "10.180.61.1", "10.180.61.2"
	turn := func(round int) {
		one, two := slice("ns1/one", target("p80", 80), first), slice("ns1/two", target("p80", 80))
		if round%2 == 1 {
			one, two = slice("ns1/one", target("p80", 80)), slice("ns1/two", target("p80", 80), second)
		}
		s.put(t, "both", cluster{
			service("ns1/one", "172.30.0.61", tcpPort("p80", 80, 3001)), one,
			service("ns1/two", "172.30.0.62", tcpPort("p80", 80, 3002)), two,
		})
	}
	turn(0)
	s.start(t)
	var rows []row
	for i, endpoint := range []string{first, second} {
		rows = append(rows,
			row{from: pod, to: tcp(fmt.Sprintf("172.30.0.6%d:80", 1+i)), want: plain(endpoint + ":80")},
			row{from: external, to: tcp(fmt.Sprintf("192.168.0.2:300%d", 1+i)), want: plain(endpoint + ":80")})
	}
	try := func(r row) (served bool, why string) {
		o, err := s.Try(r.probe(), patience)
		switch {
		case err != nil:
			return false, err.Error()
		case o.Verdict == lab.Answered && slices.Contains(r.want.endpoints, o.Answer.At):
			return true, ""
		case o.Verdict == lab.Refused:
			return false, ""
		}
		return false, told(o)
	}
	done := make(chan struct{})
	var clients sync.WaitGroup
	for _, r := range rows {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, why := try(r); why != "" {
					t.Errorf("%s: %s; want an answer of its endpoint, or to be refused", r.probe(), why)
					return
				}
			}
		})
	}
	for round := 1; round <= 6; round++ {
		turn(round)
		s.eventually(t, patience, func() string {
			for i, r := range rows {
				if served, why := try(r); why != "" || served != (i/2 == round%2) {
					return fmt.Sprintf("round %d: %s: served: %t %s", round, r.probe(), served, why)
				}
			}
			return ""
		})
	}
	close(done)
	clients.Wait()
}

// pauseAfterCommits puts a program in front of iptables-restore that waits for some seconds after each COMMIT.
func (s *site) pauseAfterCommits(t *testing.T, seconds string) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
case "$1" in -V|--version) exec %[1]s "$@";; esac
while IFS= read -r line; do
	printf '%%s\n' "$line"
	if [ "$line" = COMMIT ]; then sleep %[2]s; fi
done | %[1]s "$@"
`, s.kernel.RestoreCommand, seconds)
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(s.kernel.RestoreCommand)), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "PATH="+dir+":"+os.Getenv("PATH"))
}
