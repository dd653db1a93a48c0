package recorded

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// chain is one of a table, as lines of iptables-save.
type chain struct {
	name  string
	line  string // ":NAME - [0:0]"
	rules []string
}

// table is a table with its chains in some order.
type table struct {
	name   string
	chains []chain
}

// parse reads what iptables-save prints: each line belongs to a chain.
func parse(text string) ([]table, error) {
	var tables []table
	index := map[string]int{} // of chains in the last table
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			tables = append(tables, table{name: line[1:]})
			clear(index)
		case len(tables) == 0:
			return nil, fmt.Errorf("line %q stands in no table", line)
		case line[0] == ':':
			words := strings.Fields(line[1:])
			if len(words) < 2 {
				return nil, fmt.Errorf("line %q: want a chain and its policy", line)
			}
			t := &tables[len(tables)-1]
			index[words[0]] = len(t.chains)
			t.chains = append(t.chains, chain{name: words[0], line: ":" + words[0] + " " + words[1] + " [0:0]"})
		default:
			words := strings.SplitN(line, " ", 3)
			i, known := index[words[1]]
			if words[0] != "-A" || !known {
				return nil, fmt.Errorf("line %q: want a rule of a chain that was named before", line)
			}
			t := &tables[len(tables)-1]
			t.chains[i].rules = append(t.chains[i].rules, line)
		}
	}
	return tables, nil
}

// leadsTo returns the target of a rule, which may be a chain.
func leadsTo(rule string) string {
	_, rest, _ := strings.Cut(rule, " -j ")
	target, _, _ := strings.Cut(rest, " ")
	return target
}

// leavesFirst puts each chain behind those that it jumps to, right behind them where that can be.
func (t table) leavesFirst() table {
	index := map[string]int{}
	referred := map[string]bool{}
	for i, c := range t.chains {
		index[c.name] = i
		for _, r := range c.rules {
			referred[leadsTo(r)] = true
		}
	}
	out := table{name: t.name}
	var visit func(name string)
	visit = func(name string) {
		i, there := index[name]
		if !there {
			return
		}
		delete(index, name)
		for _, r := range slices.Sorted(slices.Values(t.chains[i].rules)) { // alike beside alike
			visit(leadsTo(r))
		}
		out.chains = append(out.chains, t.chains[i])
	}
	var names []string
	for _, c := range t.chains {
		names = append(names, c.name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !referred[name] {
			visit(name)
		}
	}
	return out
}

// owner finds the port of a Service that a rule is for.
var owner = regexp.MustCompile(`--comment "([^" ]+/[^" ]+)`)

// byService sorts the rules of a chain to which kube-proxy adds some for each Service. Those of one stay as they are, and
// what is for no Service stays behind them.
func (c chain) byService() chain {
	switch c.name {
	case "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL":
	default:
		return c
	}
	key := func(rule string) string {
		if found := owner.FindStringSubmatch(rule); found != nil {
			return found[1]
		}
		return "\xff" // behind all names
	}
	c.rules = slices.Clone(c.rules)
	slices.SortStableFunc(c.rules, func(a, b string) int { return strings.Compare(key(a), key(b)) })
	return c
}

// Canonical returns what iptables-save printed in the order of this package, which is the same for both backends and all
// runs of kube-proxy.
func Canonical(text string) (Rules, error) {
	tables, err := parse(text)
	if err != nil {
		return "", err
	}
	slices.SortFunc(tables, func(a, b table) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	for _, t := range tables {
		fmt.Fprintf(&b, "*%s\n", t.name)
		for _, c := range t.leavesFirst().chains {
			fmt.Fprintln(&b, c.line)
			for _, r := range c.byService().rules {
				fmt.Fprintln(&b, r)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return Rules(b.String()), nil
}
