package report

import (
	"fmt"
	"time"
)

// cell is what one run says about one thing: a number to compare, and how it is written. No text: not measured.
type cell struct {
	number float64
	text   string
}

// row is one thing that was measured.
type row struct {
	title string
	cell  func(Run) cell
}

// rows are all of them, in the order of the table.
func rows() []row {
	return []row{
		{"first answer of default/kubernetes", func(r Run) cell { return outcome(r.FirstAnswer) }},
		{"cold start, to the last Service", func(r Run) cell { return outcome(r.ColdStart) }},
		{"  CPU", func(r Run) cell { return took(r.ColdCost.CPU) }},
		{"  commits", func(r Run) cell { return count(r.ColdCost.Commits) }},
		{"  bytes written", func(r Run) cell { return written(r.ColdCost) }},
		{"  rules written", func(r Run) cell { return count(r.ColdCost.Rules) }},
		{"rules in the kernel", func(r Run) cell { return count(r.Rules) }},
		{"first packet, direct, p50", func(r Run) cell { return outcome(r.Direct.Quantile(.5)) }},
		{"first packet, Service, p50", func(r Run) cell { return outcome(r.Service.Quantile(.5)) }},
		{"first packet, Service, p99", func(r Run) cell { return outcome(r.Service.Quantile(.99)) }},
		{"endpoint change, idle, p50", func(r Run) cell { return outcome(r.Idle.Quantile(.5)) }},
		{"endpoint change, idle, p99", func(r Run) cell { return outcome(r.Idle.Quantile(.99)) }},
		{"  CPU of a change", func(r Run) cell { return took(r.IdleCost.PerChange()) }},
		{"  bytes written for a change", perChange(func(r Run) Cost { return r.IdleCost })},
		{"  rules written for a change", func(r Run) cell { return rulesPerChange(r.IdleCost) }},
		{"endpoint change, churn, p50", func(r Run) cell { return outcome(r.Busy.Quantile(.5)) }},
		{"endpoint change, churn, p99", func(r Run) cell { return outcome(r.Busy.Quantile(.99)) }},
		{"  CPU of a change", func(r Run) cell { return took(r.BusyCost.PerChange()) }},
		{"  commits", func(r Run) cell { return count(r.BusyCost.Commits) }},
		{"new Service, p50", func(r Run) cell { return outcome(r.New.Quantile(.5)) }},
		{"removed Service, p50", func(r Run) cell { return outcome(r.Removed.Quantile(.5)) }},
		{"connections not answered", unserved},
		{"repair after iptables -t nat -F", func(r Run) cell { return outcome(r.Repair) }},
		{"restart, until in step", func(r Run) cell { return outcome(r.Restart.InStep) }},
		{"  commits, nothing had changed", func(r Run) cell { return count(r.Restart.Commits) }},
		{"  connections lost", lost},
		{"memory, at rest", func(r Run) cell { return volume(r.Memory.Settled) }},
		{"memory, peak", func(r Run) cell { return volume(r.Memory.Peak) }},
		{"memory, peak with children", func(r Run) cell { return volume(r.Memory.Total) }},
	}
}

func outcome(o Outcome) cell {
	if o.Missed != "" {
		return cell{text: firstLine(o.Missed)}
	}
	return took(o.Took)
}

func took(d time.Duration) cell {
	if d <= 0 {
		return cell{}
	}
	return cell{number: d.Seconds(), text: duration(d)}
}

func count(n *int) cell {
	if n == nil {
		return cell{}
	}
	return cell{number: float64(*n), text: grouped(*n)}
}

func volume(n int64) cell {
	if n <= 0 {
		return cell{}
	}
	return cell{number: float64(n), text: size(float64(n))}
}

func written(c Cost) cell { return volume(c.Written) }

func perChange(of func(Run) Cost) func(Run) cell {
	return func(r Run) cell {
		c := of(r)
		if c.Changes == 0 {
			return cell{}
		}
		return volume(c.Written / int64(c.Changes))
	}
}

// rulesPerChange is the mean.
func rulesPerChange(c Cost) cell {
	if c.Rules == nil || c.Changes == 0 {
		return cell{}
	}
	mean := float64(*c.Rules) / float64(c.Changes)
	return cell{number: mean, text: fmt.Sprintf("%.3g", mean)}
}

func unserved(r Run) cell {
	if r.Attempted == 0 {
		return cell{}
	}
	return cell{text: fmt.Sprintf("%s of %s", grouped(r.Unserved), grouped(r.Attempted))}
}

func lost(r Run) cell {
	if !r.Restart.Done {
		return cell{}
	}
	return cell{text: fmt.Sprintf("%s of %s", grouped(r.Restart.Lost), grouped(r.Restart.Tried))}
}
