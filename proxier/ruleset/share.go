package ruleset

import (
	"math"
	"strconv"
)

// Share is the probability Num/Den of -m statistic --mode random. The zero value is "always" and needs no match.
//
// The kernel keeps a probability as a fixed-point number with 31 bits (net/netfilter/xt_statistic.c), and
// iptables-save prints that number. To compare rules as values, a Share is always a reduced fraction with a
// denominator of at most maxDen: no two of these are ever taken for each other, neither by the kernel's
// rounding nor by that of the decimal text, so "1 in n" reads back as "1 in n".
type Share struct {
	Num, Den uint32
}

const fixedOne = 1 << 31

// maxDen is so small that two different fractions differ by more than both roundings together:
// 1/maxDen² > 2·uncertainty/2³¹.
const maxDen = 40000

// uncertainty is how far, in units of 1/2³¹, the kernel's number may be off the fraction that was meant: half a
// unit from the kernel, and from the tenth decimal of the text another 0.11.
const uncertainty = 0.61

// OneIn is the share that one of n equal candidates gets; OneIn(1) is always.
func OneIn(n int) Share { return NewShare(1, n) }

// NewShare returns num/den in canonical form; the zero Share if nothing is left to chance. A reduced denominator
// above maxDen is rounded to one that is 2¹⁵, which is far finer than any choice between few candidates needs.
func NewShare(num, den int) Share {
	if num <= 0 || den <= 0 || num >= den {
		return Share{}
	}
	a, b := num, den
	for b != 0 {
		a, b = b, a%b
	}
	num, den = num/a, den/a
	if den <= maxDen {
		return Share{uint32(num), uint32(den)}
	}
	const coarse = 1 << 15
	return NewShare(min(max((num*coarse+den/2)/den, 1), coarse-1), coarse)
}

// parseShare reads the decimal of --probability.
func parseShare(s string) (Share, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 1 {
		return Share{}, false
	}
	p := fixed(f)
	if p == fixedOne {
		return Share{1, 1}, true
	}
	return shareOfFixed(p), true
}

// fixed is what iptables makes of a probability: lround(0x80000000 * p).
func fixed(p float64) uint32 { return uint32(math.Round(p * fixedOne)) }

// shareOfFixed returns the fraction with the smallest denominator within the uncertainty around p/2³¹.
func shareOfFixed(p uint32) Share {
	const scale = 100 // makes the bounds whole numbers
	if p == 0 {
		return Share{0, 1}
	}
	slack := uint64(uncertainty * scale)
	num, den := simplest(uint64(p)*scale-slack, fixedOne*scale, uint64(p)*scale+slack, fixedOne*scale)
	return Share{uint32(num), uint32(den)}
}

// simplest returns the fraction with the smallest denominator strictly between a/b and c/d, by descending the
// Stern-Brocot tree with the steps of a continued fraction.
func simplest(a, b, c, d uint64) (num, den uint64) {
	whole := a / b
	if (whole+1)*d < c { // the next whole number lies inside
		return whole + 1, 1
	}
	// Both ends lie between whole and whole+1: go on with the inverse of what is above whole.
	a, c = a-whole*b, c-whole*d
	if a == 0 { // strictly between 0 and c/d: 1/n with the smallest n > d/c
		n := d/c + 1
		return whole*n + 1, n
	}
	num, den = simplest(d, c, b, a)
	return whole*num + den, num
}

// String returns the share with the ten decimals that the field is used to: 1 in 3 is 0.3333333333.
func (s Share) String() string {
	if s.Den == 0 {
		return "1.0000000000"
	}
	return strconv.FormatFloat(float64(s.Num)/float64(s.Den), 'f', 10, 64)
}
