package bench

import (
	"regexp"
	"strconv"
	"strings"
)

// loggedCommits counts what the proxy has committed by what it logs about it: espalier does at -v 2, others do
// not. iptables-legacy leaves no trace in the kernel that could be counted.
func (r *run) loggedCommits() (int, bool) {
	text, err := r.process.Log()
	if err != nil {
		return 0, false
	}
	return commitsIn(text)
}

// commitsIn reads lines like
//
//	I0101 00:00:00.000000 1 reporter.go:1] "Synced" family="IPv4" chainsWritten=2 chainsDeleted=0 commits=1
func commitsIn(log string) (n int, known bool) {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `] "Synced" `) {
			continue
		}
		if commits, ok := value(line, "commits"); ok {
			n, known = n+commits, true
		}
	}
	return n, known
}

// value finds name=NUMBER in a line of a structured log.
func value(line, name string) (int, bool) {
	found := regexp.MustCompile(` ` + name + `=(\d+)\b`).FindStringSubmatch(line)
	if found == nil {
		return 0, false
	}
	n, err := strconv.Atoi(found[1])
	return n, err == nil
}
