package delta

import (
	"math"
	"slices"

	"espalier/proxier/ruleset"
)

// sizes are those of the COMMITs of strategy NFT, in chains.
type sizes struct {
	small   int // up to here one COMMIT a table
	fresh   int // chains that nothing refers to yet
	changed int // chains that packets go through
	remove  int
}

// sizes returns what was measured to be best with iptables 1.8.9 on Linux 6.18, with 10,000 chains and 40,000
// rules, and with 32,000 chains and 182,000 rules.
//
// A COMMIT of n chains costs the tool about n²·20 ns, and makes the kernel check again all rules that a packet
// can reach, at about 1 µs each. On an empty kernel 100 to 500 chains are equally good (2.1 s for the large
// one; 2.8 s with 1000, 40 s with all in one). Beside 182,000 rules that stand there, 4000 new chains take
// 4.2 s with 200, 0.5 s with 3000.
//
// Chains that packets go through should change at one moment; 10,000 in one COMMIT take 0.9 s and 32,000 take
// 36 s, against 7.3 s with 8000. A block is consistent in itself: what refers to each other comes together.
func (b Batch) sizes() sizes {
	fresh := int(7 * math.Sqrt(float64(b.Standing)))
	return sizes{small: 300, fresh: min(max(fresh, 200), 5000), changed: 8000, remove: 300}
}

// commit is one transaction of one table.
type commit struct {
	table  ruleset.Table
	write  []ruleset.Chain // in the order of their rules
	unjump []ruleset.Jump
	jumps  []ruleset.Jump
	remove []ruleset.Chain
}

// commits cuts the batch into transactions, in order.
//
// Whatever a packet can reach is complete after each of them: a chain is created before something refers to it
// and removed after nothing does.
func (b Batch) commits(s Strategy, size sizes) []commit {
	var build, change, remove []commit
	for _, t := range b.tables() {
		all := b.of(t)
		if s == Legacy || len(all.write)+len(all.remove) <= size.small {
			if !all.empty() {
				change = append(change, all)
			}
			continue
		}
		fresh, reachable := b.split(all.write)
		for block := range slices.Chunk(fresh, size.fresh) {
			build = append(build, commit{table: t, write: block})
		}
		last := commit{table: t, unjump: all.unjump, jumps: all.jumps}
		for block := range slices.Chunk(reachable, size.changed) {
			if len(last.write) > 0 {
				change = append(change, commit{table: t, write: last.write})
			}
			last.write = block
		}
		if !last.empty() {
			change = append(change, last)
		}
		for block := range slices.Chunk(all.remove, size.remove) {
			remove = append(remove, commit{table: t, remove: block})
		}
	}
	return slices.Concat(build, change, remove)
}

// tables returns the tables in the order in which they are committed; see Between.
func (b Batch) tables() []ruleset.Table {
	if b.NatFirst {
		return []ruleset.Table{ruleset.Nat, ruleset.Filter, ruleset.Mangle}
	}
	return []ruleset.Table{ruleset.Filter, ruleset.Nat, ruleset.Mangle}
}

// of returns all of the batch that is in the table, leaves first.
func (b Batch) of(t ruleset.Table) commit {
	c := commit{table: t}
	part := ruleset.Ruleset{}
	for ch, rules := range b.Write {
		if ch.Table == t {
			part[ch] = rules
		}
	}
	c.write = leavesFirst(part)
	for _, ch := range b.Delete {
		if ch.Table == t {
			c.remove = append(c.remove, ch)
		}
	}
	c.jumps = inTable(b.Jumps, t)
	c.unjump = inTable(b.Unjump, t)
	return c
}

func inTable(jumps []ruleset.Jump, t ruleset.Table) []ruleset.Jump {
	var out []ruleset.Jump
	for _, j := range jumps {
		if j.From.Table == t {
			out = append(out, j)
		}
	}
	return out
}

// split tells the chains that nothing refers to yet from those that packets may be in, and keeps the order.
func (b Batch) split(chains []ruleset.Chain) (fresh, reachable []ruleset.Chain) {
	for _, c := range chains {
		if b.New[c] {
			fresh = append(fresh, c)
		} else {
			reachable = append(reachable, c)
		}
	}
	return fresh, reachable
}

func (c commit) empty() bool {
	return len(c.write) == 0 && len(c.unjump) == 0 && len(c.jumps) == 0 && len(c.remove) == 0
}
