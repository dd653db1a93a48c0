package generation

import (
	"fmt"
	"strings"

	"espalier/proxier/ruleset"
)

// Stamp is the state of the tables at one moment, as far as it can be had cheaply. Two of the same Probe are
// equal if nobody wrote in between; see the package for what that misses. The zero Stamp equals none that was read.
type Stamp struct {
	backend    backend
	generation uint32 // nft
	sizes      [len(tables)]Size
}

// OfNFT is a Stamp as nft gives it.
func OfNFT(generation uint32) Stamp { return Stamp{backend: nft, generation: generation} }

// OfLegacy is a Stamp as the legacy backend gives it; a table that is not among the sizes does not exist.
func OfLegacy(sizes map[ruleset.Table]Size) Stamp {
	s := Stamp{backend: legacy}
	for t, size := range sizes {
		s.sizes[t] = size
	}
	return s
}

type backend uint8

const (
	nft backend = iota + 1
	legacy
)

// tables are those that a Service proxy uses; each is its own index into Stamp.sizes.
var tables = [...]ruleset.Table{ruleset.Mangle, ruleset.Filter, ruleset.Nat}

// Size is what the kernel says of a table of the legacy backend. It is zero if the namespace has no such table.
type Size struct {
	Entries uint32 // rules + 2 per user-defined chain + 1 per built-in chain + 1
	Bytes   uint32
	// Underflow is where the policy of the built-in chain of each hook is, in bytes from the start of the table,
	// and with it where the next of these chains begins. Without a chain for the hook it means nothing.
	Underflow [hooks]uint32
}

// hooks is NF_INET_NUMHOOKS.
const hooks = 5

// Generation returns the ruleset generation; false if the Stamp is not of nft.
func (s Stamp) Generation() (uint32, bool) { return s.generation, s.backend == nft }

// Size returns the size of a table; false if the Stamp is not of the legacy backend.
func (s Stamp) Size(t ruleset.Table) (Size, bool) {
	if s.backend != legacy || int(t) >= len(s.sizes) {
		return Size{}, false
	}
	return s.sizes[t], true
}

// Commits returns how many commits there were since an earlier Stamp of the same Probe, the own ones included.
// It is false where commits are not counted: with the legacy backend.
func (s Stamp) Commits(since Stamp) (n uint32, counted bool) {
	if s.backend != nft || since.backend != nft {
		return 0, false
	}
	n = s.generation - since.generation
	if s.generation < since.generation {
		n-- // it went round, and the kernel leaves out 0
	}
	return n, true
}

// Touched lists the tables that may have been written since an earlier Stamp of the same Probe: all of them or
// none with nft, where the generation is one for all tables of all families.
func (s Stamp) Touched(since Stamp) []ruleset.Table {
	var touched []ruleset.Table
	for _, t := range tables {
		if s.backend != since.backend || s.generation != since.generation || s.sizes[t] != since.sizes[t] {
			touched = append(touched, t)
		}
	}
	return touched
}

// String is for logs: "generation 12", or "filter 4 entries, nat 17 entries".
func (s Stamp) String() string {
	switch s.backend {
	case nft:
		return fmt.Sprintf("generation %d", s.generation)
	case legacy:
		var parts []string
		for _, t := range tables {
			if n := s.sizes[t].Entries; n > 0 {
				parts = append(parts, fmt.Sprintf("%v %d entries", t, n))
			}
		}
		if parts == nil {
			return "no tables"
		}
		return strings.Join(parts, ", ")
	}
	return "not read"
}
