package delta

import (
	"iter"
	"math"
	"slices"

	"espalier/proxier/ruleset"
)

// sizes limit the COMMITs of strategy NFT. They count names of chains: those that a COMMIT has lines for, and
// those that its rules jump to.
type sizes struct {
	small   int // up to so many chains one COMMIT a table
	fresh   int // chains that nothing refers to yet
	changed int // chains that packets go through
	remove  int
}

// sizes returns what was measured to be best with iptables 1.8.9 on Linux 6.18, with 10,000 chains and 40,000
// rules, and with 32,000 chains and 182,000 rules.
//
// The tool keeps a sorted list of the names in a COMMIT and walks it for every line, so n names cost about
// n²·20 ns; and the kernel checks, at each COMMIT, all rules that a packet can reach, at about 1 µs each. On an
// empty kernel 100 to 500 chains are equally good (2.1 s for the large set; 2.8 s with 1000, 40 s with all in
// one). Beside 182,000 rules that stand there, 4000 new chains take 4.2 s with 200, 0.5 s with 3000.
//
// Chains that packets go through should change at one moment; 10,000 in one COMMIT take 0.9 s, but 32,000 take
// 36 s, against 9 s with 10,000 and 7 s with 8000. That many change only when the layout does, as when we take
// over from kube-proxy. Each block leaves whole chains, and what refers to each other is mostly in one.
func (b Batch) sizes() sizes {
	fresh := int(7 * math.Sqrt(float64(b.Standing)))
	return sizes{small: 300, fresh: min(max(fresh, 200), 5000), changed: 12000, remove: 300}
}

// commit is one transaction of one table.
type commit struct {
	table  ruleset.Table
	write  []ruleset.Chain // in the order of their rules
	unjump []ruleset.Jump
	jumps  []Insertion
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
		for block := range b.blocks(fresh, size.fresh) {
			build = append(build, commit{table: t, write: block})
		}
		last := commit{table: t, unjump: all.unjump, jumps: all.jumps}
		for block := range b.blocks(reachable, size.changed) {
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
	for _, j := range b.Jumps {
		if j.From.Table == t {
			c.jumps = append(c.jumps, j)
		}
	}
	for _, j := range b.Unjump {
		if j.From.Table == t {
			c.unjump = append(c.unjump, j)
		}
	}
	return c
}

// blocks cuts the chains, in their order, where a block has that many names.
func (b Batch) blocks(chains []ruleset.Chain, names int) iter.Seq[[]ruleset.Chain] {
	return func(yield func([]ruleset.Chain) bool) {
		seen := map[string]bool{}
		from := 0
		for i, c := range chains {
			seen[c.Name] = true
			for _, r := range b.Write[c] {
				if to, ok := r.JumpsTo(); ok {
					seen[to] = true
				}
			}
			if len(seen) >= names {
				if !yield(chains[from : i+1]) {
					return
				}
				from = i + 1
				clear(seen)
			}
		}
		if from < len(chains) {
			yield(chains[from:])
		}
	}
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
