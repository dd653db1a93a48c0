package ruleset

import "strings"

// Stats are the sizes of one table's chains.
type Stats struct {
	Table         Table
	Rules, Chains int
	// Longest is the chain with the most rules, the first by name if there are several.
	Longest      string
	LongestRules int
	// Deepest is the path with the most chains that a packet can go down, from a chain that no other chain of
	// ours refers to. The first by name if there are several.
	Deepest []string
}

// Measure returns the sizes of each table that has chains.
func Measure(rs Ruleset) []Stats {
	var all []Stats
	for _, t := range []Table{Mangle, Filter, Nat} {
		if s := measure(rs, t); s.Chains > 0 {
			all = append(all, s)
		}
	}
	return all
}

func measure(rs Ruleset, t Table) Stats {
	s := Stats{Table: t}
	m := paths{rs: rs, table: t, deepest: map[string][]string{}}
	for _, c := range rs.Chains() {
		if c.Table != t {
			continue
		}
		s.Chains++
		s.Rules += len(rs[c])
		if len(rs[c]) > s.LongestRules {
			s.Longest, s.LongestRules = c.Name, len(rs[c])
		}
		if path := m.from(c.Name); len(path) > len(s.Deepest) {
			s.Deepest = path
		}
	}
	return s
}

// paths finds the longest path below each chain once.
type paths struct {
	rs      Ruleset
	table   Table
	deepest map[string][]string
}

func (p paths) from(name string) []string {
	if path, done := p.deepest[name]; done {
		return path
	}
	p.deepest[name] = nil // a loop, which the kernel refuses, ends here
	var below []string
	for _, r := range p.rs[Chain{p.table, name}] {
		if to, ok := r.JumpsTo(); ok {
			if path := p.from(to); len(path) > len(below) {
				below = path
			}
		}
	}
	path := append([]string{name}, below...)
	p.deepest[name] = path
	return path
}

// DeepestPath returns the deepest path as an operator would draw it.
func (s Stats) DeepestPath() string { return strings.Join(s.Deepest, " → ") }
