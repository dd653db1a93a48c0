package bench

import (
	"regexp"
	"strconv"
	"strings"
)

// logged counts what the proxy has written by what it logs about it: espalier does at -v 2, others do not.
// iptables-legacy leaves no trace of COMMITs in the kernel that could be counted, and neither backend of rules that
// were written again.
func (r *run) logged() (commits, rules tally) {
	text, err := r.process.Log()
	if err != nil {
		return tally{}, tally{}
	}
	return sumIn(text, "commits"), sumIn(text, "rules")
}

// tally is a number, if it is known.
type tally struct {
	n     int
	known bool
}

// since returns how much more it is now; nil if that is not known.
func (t tally) since(before tally) *int {
	if !t.known {
		return nil
	}
	n := t.n - before.n
	return &n
}

// sumIn adds up a number in lines like
//
//	I0101 00:00:00.000000 1 reporter.go:1] "Synced" family="IPv4" chainsWritten=2 chainsDeleted=0 commits=1 rules=12
func sumIn(log, name string) (sum tally) {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `] "Synced" `) {
			continue
		}
		if n, ok := value(line, name); ok {
			sum.n, sum.known = sum.n+n, true
		}
	}
	return sum
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
