package netns

import (
	"math"
	"testing"
)

// chiSquared compares counts with equal shares. It returns the probability that a fair choice is at least as
// uneven as this one.
func chiSquared(counts []int) float64 {
	if len(counts) < 2 {
		return 1
	}
	expected := float64(sum(counts)) / float64(len(counts))
	statistic := 0.0
	for _, n := range counts {
		statistic += (float64(n) - expected) * (float64(n) - expected) / expected
	}
	return upperGamma(float64(len(counts)-1)/2, statistic/2)
}

// upperGamma is the regularised incomplete gamma function Q(a, x) = Γ(a, x)/Γ(a), by its power series below the
// bend and by its continued fraction above (Abramowitz and Stegun, 6.5.29 and 6.5.31).
func upperGamma(a, x float64) float64 {
	if x <= 0 {
		return 1
	}
	logGamma, _ := math.Lgamma(a)
	scale := math.Exp(a*math.Log(x) - x - logGamma)
	const steps, precise = 10000, 1e-15
	if x < a+1 {
		term := 1 / a
		sum := term
		for n := 1; n < steps && term > sum*precise; n++ {
			term *= x / (a + float64(n))
			sum += term
		}
		return 1 - scale*sum
	}
	// 1/(x+1-a- 1(1-a)/(x+3-a- 2(2-a)/(x+5-a- …))), from the inside out
	const depth = 2000
	below := x + 2*depth + 1 - a
	for n := float64(depth); n >= 1; n-- {
		below = x + 2*n - 1 - a - n*(n-a)/below
	}
	return scale / below
}

func TestChiSquared(t *testing.T) {
	for _, c := range []struct{ freedom, statistic, want float64 }{
		{1, 3.841459, 0.05}, {1, 10.827566, 0.001}, {2, 0.210721, 0.9}, {2, 41.446532, 1e-9},
		{10, 18.307038, 0.05}, {32, 62.487219, 0.001}, {100, 77.929465, 0.95}, {100, 149.449253, 0.001},
	} {
		if got := upperGamma(c.freedom/2, c.statistic/2); math.Abs(got/c.want-1) > 0.01 {
			t.Errorf("%v degrees of freedom, %v: got %v, want %v", c.freedom, c.statistic, got, c.want)
		}
	}
	fair, skewed := make([]int, 150), make([]int, 150)
	for i := range fair {
		fair[i] = 100 + 10*(i%3-1)
		skewed[i] = fair[i]
		if i < 15 {
			skewed[i] *= 2 // one group of ten gets the share of two
		}
	}
	if p := chiSquared(fair); p < 0.01 {
		t.Errorf("a fair choice has p = %v", p)
	}
	if p := chiSquared(skewed); p > unfair {
		t.Errorf("a skewed choice has p = %v", p)
	}
}
