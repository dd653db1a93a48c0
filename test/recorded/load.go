package recorded

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The counters that rules of kube-proxy name where the kernel has such (nfacct). They must be there before.
const (
	InvalidCounter   = "ct_state_invalid_dropped_pkts"
	LocalhostCounter = "localhost_nps_accepted_pkts"
)

// counter is how iptables prints the match that counts.
var counter = regexp.MustCompile(` -m nfacct --nfacct-name +\S+`)

// WithoutCounters returns the rules as kube-proxy writes them where the kernel has no such counters.
func (r Rules) WithoutCounters() Rules {
	var b strings.Builder
	for line := range strings.Lines(string(r)) {
		if !strings.Contains(line, LocalhostCounter) { // such a rule is there for its counter only
			b.WriteString(counter.ReplaceAllString(line, ""))
		}
	}
	return Rules(b.String())
}

// Input returns input for iptables-restore --noflush that brings the rules into a kernel without any. A COMMIT has at
// most so many chains; zero: all of a table. The time that a COMMIT takes grows with the square of its chains for the
// nf_tables backend, and with the length of the table for the legacy one.
func (r Rules) Input(chains int) ([]byte, error) {
	tables, err := parse(string(r))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, t := range tables {
		most := chains
		if most == 0 {
			most = len(t.chains)
		}
		for block := range slices.Chunk(t.chains, most) {
			fmt.Fprintf(&b, "*%s\n", t.name)
			declared := slices.Clone(block)
			// The tool of nf_tables keeps a sorted list, into which each of these goes at the front.
			slices.SortFunc(declared, func(a, b chain) int { return strings.Compare(b.name, a.name) })
			for _, c := range declared {
				fmt.Fprintln(&b, c.line)
			}
			for _, c := range block {
				for _, rule := range c.rules {
					fmt.Fprintln(&b, rule)
				}
			}
			b.WriteString("COMMIT\n")
		}
	}
	return b.Bytes(), nil
}

// Sync returns what kube-proxy gives to iptables-restore --noflush in a full sync, on a node whose nat table has the stale
// chains: these are deleted, and those of the rules written, in one COMMIT for each table.
func (r Rules) Sync(stale []string) ([]byte, error) {
	tables, err := parse(string(r))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, t := range tables {
		switch t.name {
		case "filter":
			syncTable(&b, t, nil)
		case "nat":
			syncTable(&b, t, stale)
		}
	}
	return b.Bytes(), nil
}

func syncTable(b *bytes.Buffer, t table, stale []string) {
	var chains []chain
	for _, c := range t.chains {
		if strings.HasPrefix(c.name, "KUBE-") && !strings.HasSuffix(c.name, "-CANARY") {
			chains = append(chains, c)
		}
	}
	fmt.Fprintf(b, "*%s\n", t.name)
	for _, c := range chains {
		fmt.Fprintln(b, c.line)
	}
	for _, name := range stale {
		fmt.Fprintf(b, ":%s - [0:0]\n", name)
	}
	for _, c := range chains {
		for _, rule := range c.rules {
			fmt.Fprintln(b, rule)
		}
	}
	for _, name := range stale {
		fmt.Fprintln(b, "-X "+name)
	}
	b.WriteString("COMMIT\n")
}
