package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// plot compares all runs in one respect: a line for each, in blocks of the same size and backend.
type plot struct {
	Title, Note   string
	Width, Height float64
	Top, Bottom   float64 // of the grid
	Ticks         []tick
	Blocks        []block
}

type block struct {
	Label string
	Y     float64
	Dots  []dot
}

// dot is one value, or the reason why there is none, which stands at the left.
type dot struct {
	X, Y   float64
	Series int // the number of the proxy
	Text   string
	Missed bool
}

// The measures of plots, in pixels.
const (
	plotWidth, labelWidth, valueWidth = 620, 150, 78
	lineHeight, blockGap, axisHeight  = 17, 9, 24
)

// plots are those at the top of the page.
func (r Report) plots() []plot {
	return []plot{
		r.plot("Cold start", "process start until the last Service answers", roundTime, func(run Run) cell { return outcome(run.ColdStart) }),
		r.plot("First answer", "process start until default/kubernetes answers", roundTime, func(run Run) cell { return outcome(run.FirstAnswer) }),
		r.plot("Endpoint change, idle", "change until the first connection that it decides, median", roundTime, func(run Run) cell { return outcome(run.Idle.Quantile(.5)) }),
		r.plot("Endpoint change, churn", fmt.Sprintf("the same while %g other Services change in a second, median", r.Churn), roundTime, func(run Run) cell { return outcome(run.Busy.Quantile(.5)) }),
		r.plot("CPU of a change", "process and children, with churn", roundTime, func(run Run) cell { return took(run.BusyCost.PerChange()) }),
		r.plot("Memory", "peak, children included", roundSize, func(run Run) cell { return volume(run.Memory.Total) }),
		r.plot("First packet", "connect to a cluster IP, median", roundTime, func(run Run) cell { return outcome(run.Service.Quantile(.5)) }),
		r.plot("Repair", "iptables -t nat -F until all Services answer", roundTime, func(run Run) cell { return outcome(run.Repair) }),
	}
}

// plot places what the runs have to say.
func (r Report) plot(title, note string, label func(float64) string, of func(Run) cell) plot {
	var values []float64
	for _, run := range r.Runs {
		values = append(values, of(run).number)
	}
	a := newAxis(values, labelWidth, plotWidth-valueWidth)
	p := plot{Title: title, Note: note, Width: plotWidth, Top: axisHeight, Ticks: a.ticks(label)}
	y := float64(axisHeight + blockGap)
	for _, g := range r.groups() {
		b := block{Label: fmt.Sprintf("%s %s", g.size, g.backend), Y: y + lineHeight*float64(len(g.runs))/2}
		for _, run := range g.runs {
			c := of(run)
			d := dot{X: labelWidth, Y: y + lineHeight/2., Series: r.series(run.Proxy), Text: c.text, Missed: c.number <= 0}
			if !d.Missed {
				d.X = a.place(c.number)
			}
			b.Dots = append(b.Dots, d)
			y += lineHeight
		}
		p.Blocks = append(p.Blocks, b)
		y += blockGap
	}
	p.Bottom, p.Height = y, y+4
	return p
}

// proxies returns the names of all proxies, in the order in which they were measured.
func (r Report) proxies() []string {
	var names []string
	for _, run := range r.Runs {
		if !slices.Contains(names, run.Proxy) {
			names = append(names, run.Proxy)
		}
	}
	return names
}

func (r Report) series(proxy string) int { return slices.Index(r.proxies(), proxy) }

// curves show the whole distribution of a repeated measurement: which share took at most how long.
type curves struct {
	Title         string
	Width, Height float64
	Left, Right   float64
	Top, Bottom   float64
	Ticks, Shares []tick
	Lines         []line
}

type line struct {
	Series int
	Path   string
}

// distribution draws one curve for each run of a group, or nothing if nobody measured anything.
func (r Report) distribution(g group, title string, of func(Run) Spread) *curves {
	c := &curves{Title: title, Width: 480, Height: 210, Left: 44, Right: 464, Top: 12, Bottom: 178}
	var values []float64
	for _, run := range g.runs {
		for _, s := range of(run).Samples {
			values = append(values, s.Seconds())
		}
	}
	if len(values) == 0 {
		return nil
	}
	a := newAxis(values, c.Left, c.Right)
	c.Ticks = a.ticks(roundTime)
	for _, share := range []float64{0, .5, .9, 1} {
		c.Shares = append(c.Shares, tick{c.height(share), fmt.Sprintf("%.0f %%", share*100)})
	}
	for _, run := range g.runs {
		if samples := of(run).Samples; len(samples) > 0 {
			c.Lines = append(c.Lines, line{r.series(run.Proxy), c.path(a, samples)})
		}
	}
	return c
}

func (c *curves) height(share float64) float64 { return round(c.Bottom - share*(c.Bottom-c.Top)) }

// path climbs a step at each sample.
func (c *curves) path(a axis, samples []time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "M%g %g", c.Left, c.Bottom)
	for i, s := range slices.Sorted(slices.Values(samples)) {
		fmt.Fprintf(&b, "H%gV%g", a.place(s.Seconds()), c.height(float64(i+1)/float64(len(samples))))
	}
	fmt.Fprintf(&b, "H%g", c.Right)
	return b.String()
}
