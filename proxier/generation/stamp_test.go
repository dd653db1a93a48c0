package generation

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ruleset"
)

// ofLegacy has tables of so many entries; none where it is 0.
func ofLegacy(mangle, filter, nat uint32) Stamp {
	size := func(n uint32) Size { return Size{Entries: n, Bytes: 176 * n} }
	return OfLegacy(map[ruleset.Table]Size{ruleset.Mangle: size(mangle), ruleset.Filter: size(filter), ruleset.Nat: size(nat)})
}

func TestCommits(t *testing.T) {
	for _, tc := range []struct {
		name       string
		since, now Stamp
		n          uint32
		counted    bool
	}{
		{"none", OfNFT(7), OfNFT(7), 0, true},
		{"three", OfNFT(7), OfNFT(10), 3, true},
		{"around the end, without 0", OfNFT(math.MaxUint32), OfNFT(1), 1, true},
		{"far around the end", OfNFT(math.MaxUint32 - 1), OfNFT(2), 3, true},
		{"legacy does not count", ofLegacy(0, 4, 0), ofLegacy(0, 5, 0), 0, false},
		{"nor does a Stamp that was not read", Stamp{}, OfNFT(7), 0, false},
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
		{"nft, no commit", OfNFT(7), OfNFT(7), nil},
		{"nft does not tell tables apart", OfNFT(7), OfNFT(8), all},
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
		"generation 12":                   OfNFT(12),
		"no tables":                       ofLegacy(0, 0, 0),
		"filter 4 entries, nat 9 entries": ofLegacy(0, 4, 9),
	} {
		if s.String() != want {
			t.Errorf("String is %q, want %q", s, want)
		}
	}
}
