package generation

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ruleset"
)

func ofNFT(generation uint32) Stamp { return Stamp{backend: nft, generation: generation} }

// ofLegacy has tables of so many entries; none where it is 0.
func ofLegacy(mangle, filter, nat uint32) Stamp {
	s := Stamp{backend: legacy}
	for i, n := range []uint32{mangle, filter, nat} {
		s.sizes[i] = Size{Entries: n, Bytes: 176 * n}
	}
	return s
}

func TestCommits(t *testing.T) {
	for _, tc := range []struct {
		name       string
		since, now Stamp
		n          uint32
		counted    bool
	}{
		{"none", ofNFT(7), ofNFT(7), 0, true},
		{"three", ofNFT(7), ofNFT(10), 3, true},
		{"around the end, without 0", ofNFT(math.MaxUint32), ofNFT(1), 1, true},
		{"far around the end", ofNFT(math.MaxUint32 - 1), ofNFT(2), 3, true},
		{"legacy does not count", ofLegacy(0, 4, 0), ofLegacy(0, 5, 0), 0, false},
		{"nor does a Stamp that was not read", Stamp{}, ofNFT(7), 0, false},
	} {
		n, counted := tc.now.Commits(tc.since)
		if n != tc.n || counted != tc.counted {
			t.Errorf("%s: Commits is %d, %v; want %d, %v", tc.name, n, counted, tc.n, tc.counted)
		}
	}
}

func TestTouched(t *testing.T) {
	all := []ruleset.Table{ruleset.Mangle, ruleset.Filter, ruleset.Nat}
	moved := ofLegacy(0, 4, 9)
	moved.sizes[ruleset.Filter].Underflow[2]++
	for _, tc := range []struct {
		name       string
		since, now Stamp
		want       []ruleset.Table
	}{
		{"nft, no commit", ofNFT(7), ofNFT(7), nil},
		{"nft does not tell tables apart", ofNFT(7), ofNFT(8), all},
		{"legacy, nothing", ofLegacy(0, 4, 9), ofLegacy(0, 4, 9), nil},
		{"legacy, another number of rules", ofLegacy(0, 4, 9), ofLegacy(0, 4, 8), []ruleset.Table{ruleset.Nat}},
		{"legacy, a new table", ofLegacy(0, 4, 9), ofLegacy(6, 4, 9), []ruleset.Table{ruleset.Mangle}},
		{"legacy, a rule went to another chain", ofLegacy(0, 4, 9), moved, []ruleset.Table{ruleset.Filter}},
		{"nothing is known before the first", Stamp{}, ofLegacy(0, 0, 0), all},
	} {
		if diff := cmp.Diff(tc.want, tc.now.Touched(tc.since)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestStampText(t *testing.T) {
	for want, s := range map[string]Stamp{
		"not read":                        {},
		"generation 12":                   ofNFT(12),
		"no tables":                       ofLegacy(0, 0, 0),
		"filter 4 entries, nat 9 entries": ofLegacy(0, 4, 9),
	} {
		if s.String() != want {
			t.Errorf("String is %q, want %q", s, want)
		}
	}
}
