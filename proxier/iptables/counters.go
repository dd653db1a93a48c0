package iptables

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"espalier/proxier/ruleset"
)

// Counted is what a rule has counted.
type Counted struct {
	Chain, Comment string
	Packets, Bytes uint64
}

// Counters reads what the rules in chains of ours have counted that have a comment and ask for a destination port. A
// rule counts from zero whenever its chain is written.
func (k *Kernel) Counters(ctx context.Context, t ruleset.Table) (counted []Counted, err error) {
	err = read(ctx, k.SaveCommand, []string{"-c", "-t", t.String()}, func(r io.Reader) error {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if c, ok := parseCounted(lines.Text()); ok && ruleset.Owned(ruleset.Chain{Table: t, Name: c.Chain}) {
				counted = append(counted, c)
			}
		}
		return lines.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read the counters of %v rules (%v): %w", k.Family, k.Backend, err)
	}
	return counted, nil
}

// parseCounted reads a line like
//
//	[7:420] -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-X
//
// Comments of ours have no quotation marks. The tools leave those around a comment out where it has no blank.
func parseCounted(line string) (c Counted, ok bool) {
	counters, rule, ok := strings.Cut(line, "] -A ")
	if !ok || !strings.HasPrefix(counters, "[") || !strings.Contains(rule, " --dport ") {
		return c, false
	}
	c.Chain, _, _ = strings.Cut(rule, " ")
	_, rest, commented := strings.Cut(rule, " --comment ")
	if !commented {
		return c, false
	}
	if quoted, isQuoted := strings.CutPrefix(rest, `"`); isQuoted {
		c.Comment, _, ok = strings.Cut(quoted, `"`)
	} else {
		c.Comment, _, _ = strings.Cut(rest, " ")
	}
	packets, bytes, both := strings.Cut(counters[1:], ":")
	var err [2]error
	c.Packets, err[0] = strconv.ParseUint(packets, 10, 64)
	c.Bytes, err[1] = strconv.ParseUint(bytes, 10, 64)
	return c, ok && both && err == [2]error{}
}
