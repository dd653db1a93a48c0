package bench

import (
	"errors"
	"fmt"
	"os/exec"
	"time"

	"espalier/test/bench/report"
	"espalier/watcher/synthetic"
)

// Config says what is measured.
type Config struct {
	Sizes    []report.Size
	Backends []string // nft, legacy
	Proxies  []Proxy  // the first is what the others are compared with
	// Churn is how many other Services change in a second in the stage that has changes all the time.
	Churn float64
	// Duration is how long each of the stages lasts in which endpoints change.
	Duration time.Duration
	// Pause is how long nothing changes between two changes of an idle cluster: more than the second for which
	// kube-proxy waits after a sync.
	Pause time.Duration
	// Patience is how long any stage may take until something that is waited for happens.
	Patience time.Duration
	// RepairPatience is the same for the repair of a flushed table.
	RepairPatience time.Duration
	// LogDir is where the logs of the proxies are kept; empty: nowhere.
	LogDir string
	// Done is called after each run with all results so far; nil: nobody wants to know.
	Done func(report.Report)
	// Command and Version are for the report.
	Command, Version string
}

// DefaultSizes are those of the whole sweep.
func DefaultSizes() []report.Size {
	return []report.Size{{Services: 1000, Endpoints: 3}, {Services: 10000, Endpoints: 3}, {Services: 5000, Endpoints: 50},
		{Services: 30000, Endpoints: 5}, {Services: 100000, Endpoints: 1}}
}

// Backends returns those of nft and legacy of which the programs are here.
func Backends() []string {
	var list []string
	for _, b := range []string{"nft", "legacy"} {
		if _, err := exec.LookPath("iptables-" + b + "-restore"); err == nil {
			list = append(list, b)
		}
	}
	return list
}

// Check returns what is wrong with a Config, all at once.
func (c Config) Check() error {
	var errs []error
	for _, s := range c.Sizes {
		if s.Services < 3 || s.Endpoints < 1 {
			errs = append(errs, fmt.Errorf("%s: want at least 3 Services with 1 endpoint each", s))
			continue
		}
		if err := synthetic.Size.Check(clusterSize(s)); err != nil {
			errs = append(errs, err)
		}
	}
	if len(c.Sizes) == 0 {
		errs = append(errs, errors.New("no size to measure"))
	}
	for _, b := range c.Backends {
		if b != "nft" && b != "legacy" {
			errs = append(errs, fmt.Errorf("backend %q: want nft or legacy", b))
		}
	}
	if len(c.Backends) == 0 {
		errs = append(errs, errors.New("no iptables-nft-restore and no iptables-legacy-restore in PATH: install iptables"))
	}
	if c.Churn < 0 || c.Churn > 10000 {
		errs = append(errs, fmt.Errorf("churn of %v changes a second: want 0 to 10,000", c.Churn))
	}
	if c.Duration <= 0 || c.Pause <= 0 || c.Patience <= 0 || c.RepairPatience <= 0 {
		errs = append(errs, errors.New("durations must be above zero"))
	}
	return errors.Join(errs...)
}

func clusterSize(s report.Size) synthetic.Size {
	return synthetic.Size{Services: s.Services, Endpoints: s.Endpoints}
}
