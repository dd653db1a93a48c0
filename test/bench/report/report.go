// Package report holds the results of a measurement, and prints them as a table, as JSON and as an HTML page.
//
// It is pure: the same results give the same bytes. It does not know how anything was measured.
package report

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Report is everything that one call of "espalier bench" found out.
type Report struct {
	Made     time.Time     `json:"made"`
	Command  string        `json:"command"`
	Machine  Machine       `json:"machine"`
	Churn    float64       `json:"churn"`    // changes asked for in a second
	Duration time.Duration `json:"duration"` // of the stages that repeat something
	Runs     []Run         `json:"runs"`
}

// Machine is where it was measured.
type Machine struct {
	CPU      string `json:"cpu"`
	CPUs     int    `json:"cpus"`
	Memory   int64  `json:"memory"` // bytes
	Kernel   string `json:"kernel"`
	Iptables string `json:"iptables"`
	Version  string `json:"version"` // of espalier
}

// String returns one line about the machine.
func (m Machine) String() string {
	return fmt.Sprintf("%d × %s, %.0f GiB, Linux %s, %s, espalier %s",
		m.CPUs, m.CPU, float64(m.Memory)/(1<<30), m.Kernel, m.Iptables, m.Version)
}

// Size is how large the cluster was.
type Size struct {
	Services  int `json:"services"`
	Endpoints int `json:"endpoints"` // of each Service
}

// String returns "10,000 x 3".
func (s Size) String() string { return grouped(s.Services) + " x " + grouped(s.Endpoints) }

// Run is what was measured of one proxy with one size on one backend.
type Run struct {
	Size    Size   `json:"size"`
	Backend string `json:"backend"`
	Proxy   string `json:"proxy"`
	// Broken says why the run ended early; what was not measured until then is missing.
	Broken string `json:"broken,omitempty"`

	// From the start of the process until default/kubernetes, and until the last Service answers.
	FirstAnswer Outcome `json:"firstAnswer"`
	ColdStart   Outcome `json:"coldStart"`
	ColdCost    Cost    `json:"coldCost"`
	Rules       *int    `json:"rules,omitempty"` // in the kernel, of both families

	// Connections: the time from connect(2) to the SYN ACK, interleaved.
	Direct  Spread `json:"direct"`  // to an endpoint's address
	Service Spread `json:"service"` // to a cluster IP

	// From a change at the API server to the first connection that it decides.
	Idle      Spread `json:"idle"`
	IdleCost  Cost   `json:"idleCost"`
	Busy      Spread `json:"busy"` // while other Services change
	BusyCost  Cost   `json:"busyCost"`
	New       Spread `json:"new"`
	Removed   Spread `json:"removed"`
	Unserved  int    `json:"unserved"`  // connections that nobody answered, while endpoints changed
	Attempted int    `json:"attempted"` // of so many

	Repair  Outcome `json:"repair"` // from a flush of the nat table until all Services answer
	Restart Restart `json:"restart"`

	Memory Memory `json:"memory"`
}

// Cost is what a stage took from the machine.
type Cost struct {
	CPU     time.Duration `json:"cpu"`     // of the process and its children
	Changes int           `json:"changes"` // that it was for
	Commits *int          `json:"commits,omitempty"`
	Written int64         `json:"written"`         // bytes
	Rules   *int          `json:"rules,omitempty"` // written, also those that were there before
}

// PerChange returns the CPU time of one change; zero if there was none.
func (c Cost) PerChange() time.Duration {
	if c.Changes == 0 {
		return 0
	}
	return c.CPU / time.Duration(c.Changes)
}

// Restart is what an end and a new start of the process did, with the right rules in the kernel.
type Restart struct {
	InStep  Outcome `json:"inStep"`            // from the start until a change is seen that was made meanwhile
	Commits *int    `json:"commits,omitempty"` // where nothing had changed
	Written int64   `json:"written"`           // bytes
	Lost    int     `json:"lost"`              // connections
	Tried   int     `json:"tried"`
	Done    bool    `json:"done"`
}

// Memory is in bytes.
type Memory struct {
	Settled int64 `json:"settled"` // resident, some time after the cold start
	Peak    int64 `json:"peak"`    // resident, at its worst
	Total   int64 `json:"total"`   // with children, at its worst
}

// Outcome is a time, or why there is none.
type Outcome struct {
	Took   time.Duration `json:"took,omitempty"`
	Missed string        `json:"missed,omitempty"`
}

// Measured reports whether there is a time.
func (o Outcome) Measured() bool { return o.Missed == "" && o.Took > 0 }

// Spread is the same time measured repeatedly, or why it was not.
type Spread struct {
	Samples []time.Duration `json:"samples,omitempty"`
	Missed  string          `json:"missed,omitempty"` // also after some samples: what ended the stage
}

// Quantile returns the smallest sample that a share of q of all samples does not exceed; q is from 0 to 1. What was
// missed counts as one sample more, above all others.
func (s Spread) Quantile(q float64) Outcome {
	count := len(s.Samples)
	if s.Missed != "" {
		count++
	}
	at := max(int(math.Ceil(q*float64(count)-1e-9)), 1)
	if at > len(s.Samples) {
		return Outcome{Missed: s.Missed}
	}
	return Outcome{Took: slices.Sorted(slices.Values(s.Samples))[at-1]}
}
