package plugins

import (
	"fmt"
	"strings"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// kernel is the tables of one family of a node, on one backend.
type kernel struct {
	ns      *lab.Namespace
	family  ipproto.Family
	backend iptables.Backend
	lock    string // see Node
}

// command is the name of an iptables program of the family and the backend.
func (k kernel) command(suffix string) string {
	name := "iptables-"
	if k.family == ipproto.IPv6 {
		name = "ip6tables-"
	}
	return name + k.backend.String() + suffix
}

// waits is how long the tools wait for the lock, in seconds.
const waits = "30"

// tool is the command line of an iptables program.
func (k kernel) tool(suffix string, args ...string) []string {
	argv := append([]string{k.command(suffix), "-w", waits}, args...)
	if k.lock != "" {
		argv = append([]string{"env", "XTABLES_LOCKFILE=" + k.lock}, argv...)
	}
	return argv
}

// restore writes what is there, and leaves the rest of the tables alone.
func (k kernel) restore(input string) error {
	if input == "" {
		return nil
	}
	if _, err := k.ns.Command(strings.NewReader(input), k.tool("-restore", "--noflush")...); err != nil {
		return fmt.Errorf("%w, of\n%s", err, input)
	}
	return nil
}

func (k kernel) iptables(args ...string) error {
	_, err := k.ns.Command(nil, k.tool("", args...)...)
	return err
}

// Saved is what iptables-save printed of all tables: the rules of each chain, in order, without counters.
type Saved map[Chain][]string

// save reads the tables.
func (k kernel) save() (Saved, error) {
	out, err := k.ns.Command(nil, k.command("-save"))
	if err != nil {
		return nil, err
	}
	return readSaved(string(out)), nil
}

// Save reads all tables of the family.
func Save(ns *lab.Namespace, f ipproto.Family, b iptables.Backend) (Saved, error) {
	return kernel{ns: ns, family: f, backend: b}.save()
}

// readSaved reads what iptables-save prints. The policy of a built-in chain is its first rule.
func readSaved(text string) Saved {
	s := Saved{}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":"):
			policy, _, _ := strings.Cut(rest, " ")
			c := Chain{table, verb[1:]}
			s[c] = nil
			if policy != "-" {
				s[c] = []string{"policy " + policy}
			}
		case verb == "-A":
			name, rule, _ := strings.Cut(rest, " ")
			rule = strings.Replace(rule, "-p ipencap ", "-p 4 ", 1) // the name is known where /etc/protocols is
			s[Chain{table, name}] = append(s[Chain{table, name}], rule)
		}
	}
	return s
}
