// Package delta says how to get from the rules that a kernel has to those it should have, and in which order
// this must be written so that no packet ever meets half of it.
//
// It knows chains and the two ways in which the backends of iptables commit them. It does not know Services,
// and it runs nothing.
//
// The one rule to respect: the unit of change is the whole chain, because iptables-restore --noflush empties
// every user-defined chain that its input declares.
package delta

import (
	"maps"
	"slices"

	"espalier/proxier/ruleset"
)

// Batch is a change of the kernel's rules. The zero value changes nothing.
type Batch struct {
	// Write has the chains whose whole content is written.
	Write ruleset.Ruleset
	// New tells which chains of Write the kernel does not have: nothing can refer to them yet.
	New map[ruleset.Chain]bool
	// Delete has the chains to remove, referrers before those they refer to.
	Delete []ruleset.Chain
	// Jumps are inserted into built-in chains, one after the other.
	Jumps []Insertion
	// Unjump are rules to remove from built-in chains, before others are inserted; one that stands there twice is
	// listed twice.
	Unjump []ruleset.Jump
	// NatFirst: the nat table is committed before the filter table. See Between.
	NatFirst bool
	// Held are references of others to chains that should go: such a chain is emptied and stays.
	Held []Reference
	// Standing is how many rules the largest table has before the change. It decides nothing but the size of
	// the COMMITs; see sizes.
	Standing int
}

// Reference is a rule that is not ours and jumps to a chain that is.
type Reference struct {
	From ruleset.Chain
	Rule ruleset.Rule
	To   ruleset.Chain
}

// Empty reports whether nothing has to be written.
func (b Batch) Empty() bool {
	return len(b.Write) == 0 && len(b.Delete) == 0 && len(b.Jumps) == 0 && len(b.Unjump) == 0
}

// Rules returns the number of rules in the chains to write.
func (b Batch) Rules() int {
	n := 0
	for _, rules := range b.Write {
		n += len(rules)
	}
	return n
}

// Apply returns what the kernel has after the batch. It changes none of its arguments.
func Apply(have ruleset.Ruleset, b Batch) ruleset.Ruleset {
	out := maps.Clone(have)
	if out == nil {
		out = ruleset.Ruleset{}
	}
	for _, j := range b.Unjump {
		if i := slices.Index(out[j.From], j.Rule); i >= 0 {
			out[j.From] = slices.Delete(slices.Clone(out[j.From]), i, i+1)
		}
	}
	maps.Copy(out, b.Write)
	for _, c := range b.Delete {
		delete(out, c)
	}
	for _, j := range b.Jumps {
		out[j.From] = slices.Insert(slices.Clone(out[j.From]), j.At, j.Rule)
	}
	return out
}
