package report

import (
	"math"
	"time"
)

// axis maps values to places by their logarithm: times of proxies differ by orders of magnitude.
type axis struct {
	low, high float64 // powers of ten, low < high
	from, to  float64 // the places of low and high
}

// tick is a labelled place on an axis.
type tick struct {
	At    float64
	Label string
}

// newAxis returns an axis that has room for all values above zero.
func newAxis(values []float64, from, to float64) axis {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if v > 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	if math.IsInf(low, 1) {
		low, high = 1, 1
	}
	a := axis{low: math.Pow(10, math.Floor(math.Log10(low))), high: math.Pow(10, math.Ceil(math.Log10(high))), from: from, to: to}
	if a.low == a.high {
		a.high *= 10
	}
	return a
}

// place returns where a value is.
func (a axis) place(v float64) float64 {
	v = min(max(v, a.low), a.high)
	share := math.Log10(v/a.low) / math.Log10(a.high/a.low)
	return round(a.from + share*(a.to-a.from))
}

// ticks returns the powers of ten.
func (a axis) ticks(label func(float64) string) []tick {
	var list []tick
	for v := a.low; v <= a.high*1.001; v *= 10 {
		list = append(list, tick{a.place(v), label(v)})
	}
	return list
}

// round leaves one digit: a tenth of a pixel, and the same text on every machine.
func round(v float64) float64 { return math.Round(v*10) / 10 }

// roundTime is the label of a power of ten of seconds.
func roundTime(seconds float64) string {
	d := time.Duration(math.Round(seconds * float64(time.Second)))
	switch {
	case d >= time.Second:
		return grouped(int(d.Seconds())) + " s"
	case d >= time.Millisecond:
		return grouped(int(d.Milliseconds())) + " ms"
	default:
		return grouped(int(d.Microseconds())) + " µs"
	}
}

// roundSize is the label of a power of ten of bytes.
func roundSize(b float64) string {
	switch {
	case b >= 1e9:
		return grouped(int(math.Round(b/1e9))) + " GB"
	case b >= 1e6:
		return grouped(int(math.Round(b/1e6))) + " MB"
	default:
		return grouped(int(math.Round(b/1e3))) + " kB"
	}
}
