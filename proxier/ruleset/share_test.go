package ruleset_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ruleset"
)

func diffOf(want, got any) string { return cmp.Diff(want, got) }

func TestShareString(t *testing.T) {
	for n, want := range map[int]string{
		1: "1.0000000000", 2: "0.5000000000", 3: "0.3333333333", 10: "0.1000000000", 10000: "0.0001000000",
	} {
		if got := ruleset.OneIn(n).String(); got != want {
			t.Errorf("one in %d is %s, want %s", n, got, want)
		}
	}
}

func TestNewShare(t *testing.T) {
	share := func(num, den uint32) ruleset.Share { return ruleset.Share{Num: num, Den: den} }
	tests := []struct {
		name     string
		num, den int
		want     ruleset.Share
	}{
		{"reduced", 2, 4, share(1, 2)},
		{"all", 4, 4, share(0, 0)},
		{"more than all", 5, 4, share(0, 0)},
		{"none", 0, 4, share(0, 0)},
		{"of nothing", 1, 0, share(0, 0)},
		{"the finest", 1, 40000, share(1, 40000)},
		{"finer than the finest", 2, 100001, share(1, 32768)},
		{"nearly all", 100000, 100001, share(32767, 32768)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ruleset.NewShare(tt.num, tt.den); got != tt.want {
				t.Errorf("NewShare(%d, %d) = %v, want %v", tt.num, tt.den, got, tt.want)
			}
		})
	}
}

// Every share is read back from the decimal that we write: all 1/n, and random fractions.
func TestShareSurvivesItsText(t *testing.T) {
	check := func(s ruleset.Share) {
		spec := "-m statistic --mode random --probability " + s.String()
		if got := rule(t, spec).Share; got != s {
			t.Fatalf("%d/%d is written as %s and read as %d/%d", s.Num, s.Den, s, got.Num, got.Den)
		}
	}
	for n := 2; n <= 40000; n += 1 + n/97 {
		check(ruleset.OneIn(n))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		den := 2 + r.IntN(39999)
		check(ruleset.NewShare(1+r.IntN(den-1), den))
	}
}

// What the kernel printed on 1.8.9 for what was written.
func TestShareIsReadFromWhatIsPrinted(t *testing.T) {
	for printed, want := range map[string]ruleset.Share{
		"0.33333333349": ruleset.OneIn(3),
		"0.50000000000": ruleset.OneIn(2),
		"0.14285714272": ruleset.OneIn(7),
	} {
		if got := rule(t, "-m statistic --mode random --probability "+printed).Share; got != want {
			t.Errorf("%s is read as %v, want %v", printed, got, want)
		}
	}
	for _, bad := range []string{"", "x", "-1", "1.5", "NaN", "Inf", "0", "1", strings.Repeat("9", 400)} {
		if got := rule(t, "-m statistic --mode random --probability "+bad+" -j DROP"); got.Foreign == "" {
			t.Errorf("probability %q is read as %v", bad, got.Share)
		}
	}
}
