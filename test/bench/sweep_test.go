package bench_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"espalier/test/bench"
	"espalier/test/bench/report"
)

// TestSweep measures espalier, and a program that is no proxy, with a tiny cluster on each backend. It asserts what was
// seen, not how long it took.
func TestSweep(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces: make test")
	}
	espalier := filepath.Join(t.TempDir(), "espalier")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", espalier, "espalier/cmd/espalier").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			if _, err := exec.LookPath("iptables-" + backend + "-restore"); err != nil {
				t.Skipf("no iptables-%s here: make test installs it", backend)
			}
			temporary := t.TempDir()
			t.Setenv("TMPDIR", temporary)
			r, said := sweep(t, backend, 20*time.Second, bench.Espalier(espalier))
			checkEspalier(t, r.Runs[0])
			if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if t.Failed() {
				t.Log(said)
			}
		})
	}
}

// TestSweepOfNoProxies measures programs that program nothing: that is a result.
func TestSweepOfNoProxies(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces: make test")
	}
	if len(bench.Backends()) == 0 {
		t.Skip("no iptables here: make test installs it")
	}
	r, _ := sweep(t, bench.Backends()[0], time.Second,
		bench.Proxy{Name: "idle", Argv: []string{"sleep", "1000"}},
		bench.Proxy{Name: "broken", Argv: []string{"sh", "-c", "echo no such flag; exit 3"}},
		bench.Proxy{Name: "absent", Argv: []string{"/nonexistent"}})
	if got := r.Runs[0].ColdStart.Missed; got != "not within 1s" {
		t.Errorf("a program that does nothing: cold start is %q", got)
	}
	if got := r.Runs[1].Broken; !strings.Contains(got, "exit status 3") || !strings.Contains(got, "no such flag") {
		t.Errorf("a program that ends: %q", got)
	}
	if got := r.Runs[2].Broken; !strings.Contains(got, "/nonexistent") {
		t.Errorf("a program that is not there: %q", got)
	}
}

// TestSweepInterrupted ends ctx in the middle: what was measured until then is there.
func TestSweepInterrupted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces: make test")
	}
	if len(bench.Backends()) == 0 {
		t.Skip("no iptables here: make test installs it")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	started := filepath.Join(dir, "started")
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(started); err == nil {
				cancel()
			}
			time.Sleep(5 * time.Millisecond) // the process is not ours to tell us
		}
	}()
	r, err := bench.Sweep(ctx, bench.Config{
		Sizes: []report.Size{{Services: 10, Endpoints: 1}, {Services: 20, Endpoints: 1}}, Backends: bench.Backends()[:1],
		Proxies:  []bench.Proxy{{Name: "idle", Argv: []string{"sh", "-c", "touch " + started + "; exec sleep 1000"}}},
		Duration: time.Second, Pause: time.Second, Patience: time.Minute, RepairPatience: time.Minute,
	}, &bench.Progress{Out: io.Discard})
	if !errors.Is(err, context.Canceled) || len(r.Runs) != 1 || r.Runs[0].Broken != "interrupted" {
		t.Errorf("got %v, %+v; want one interrupted run", err, r.Runs)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "espalier-bench-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func sweep(t *testing.T, backend string, patience time.Duration, proxies ...bench.Proxy) (report.Report, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var said strings.Builder
	r, err := bench.Sweep(ctx, bench.Config{
		Sizes: []report.Size{{Services: 50, Endpoints: 2}}, Backends: []string{backend}, Proxies: proxies,
		Churn: 20, Duration: time.Second, Pause: 300 * time.Millisecond, Patience: patience, RepairPatience: 5 * time.Second,
	}, &bench.Progress{Out: &said})
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	if len(r.Runs) != len(proxies) {
		t.Fatalf("%d runs, want %d", len(r.Runs), len(proxies))
	}
	return r, said.String()
}

// checkEspalier asserts that everything was measured that a correct proxy lets happen.
func checkEspalier(t *testing.T, r report.Run) {
	t.Helper()
	if r.Broken != "" {
		t.Fatalf("broken: %s", r.Broken)
	}
	for name, o := range map[string]report.Outcome{
		"first answer": r.FirstAnswer, "cold start": r.ColdStart, "restart": r.Restart.InStep,
		"direct": r.Direct.Quantile(1), "service": r.Service.Quantile(1), "idle": r.Idle.Quantile(1), "busy": r.Busy.Quantile(1),
		"new": r.New.Quantile(1), "removed": r.Removed.Quantile(1),
	} {
		if !o.Measured() {
			t.Errorf("%s was not measured: %+v", name, o)
		}
	}
	if r.ColdStart.Took < r.FirstAnswer.Took {
		t.Errorf("all answer after %s, the first after %s", r.ColdStart.Took, r.FirstAnswer.Took)
	}
	if r.Rules == nil || *r.Rules < 50 {
		t.Errorf("rules in the kernel: %v, want more than Services", r.Rules)
	}
	if r.ColdCost.Commits == nil || *r.ColdCost.Commits < 1 || r.ColdCost.Written < 5000 || r.ColdCost.CPU == 0 {
		t.Errorf("the cold start cost %+v", r.ColdCost)
	}
	if r.BusyCost.Changes < 10 || r.BusyCost.Commits == nil || *r.BusyCost.Commits < 2 {
		t.Errorf("the churn cost %+v", r.BusyCost)
	}
	if r.Unserved > 0 || r.Attempted == 0 {
		t.Errorf("while endpoints changed, %d of %d connections were not answered", r.Unserved, r.Attempted)
	}
	if r.Restart.Lost > 0 || r.Restart.Tried == 0 || !r.Restart.Done {
		t.Errorf("during the restart, %d of %d connections were lost", r.Restart.Lost, r.Restart.Tried)
	}
	if m := r.Memory; m.Settled == 0 || m.Peak < m.Settled/2 || m.Total < m.Peak {
		t.Errorf("memory: %+v", m)
	}
}
