package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// example is a sweep of two proxies, of which the second fails in different ways.
func example() Report {
	n := func(i int) *int { return &i }
	spread := func(ms ...float64) Spread {
		var s Spread
		for _, m := range ms {
			s.Samples = append(s.Samples, time.Duration(m*float64(time.Millisecond)))
		}
		return s
	}
	at := func(d time.Duration) Outcome { return Outcome{Took: d} }
	fast := Run{
		Size: Size{10000, 3}, Backend: "nft", Proxy: "espalier",
		FirstAnswer: at(400 * time.Millisecond), ColdStart: at(2100 * time.Millisecond),
		ColdCost: Cost{CPU: 1500 * time.Millisecond, Commits: n(80), Written: 3 << 20, Rules: n(42000)}, Rules: n(41234),
		Direct: spread(.014, .015, .020), Service: spread(.017, .018, .040),
		Idle: spread(70, 75, 80), IdleCost: Cost{CPU: 150 * time.Millisecond, Changes: 3, Commits: n(3), Written: 900, Rules: n(10)},
		Busy: spread(100, 140, 150, 400), BusyCost: Cost{CPU: 3 * time.Second, Changes: 404, Commits: n(150), Written: 400 << 10},
		New: spread(80), Removed: spread(60), Unserved: 0, Attempted: 1234,
		Repair:  at(1500 * time.Millisecond),
		Restart: Restart{InStep: at(900 * time.Millisecond), Commits: n(0), Lost: 0, Tried: 400, Done: true},
		Memory:  Memory{Settled: 60 << 20, Peak: 70 << 20, Total: 150 << 20},
	}
	slow := Run{
		Size: Size{10000, 3}, Backend: "nft", Proxy: "kube-proxy",
		FirstAnswer: at(72 * time.Second), ColdStart: at(72 * time.Second),
		ColdCost: Cost{CPU: 70 * time.Second, Commits: n(6), Written: 12 << 20}, Rules: n(110000),
		Direct: spread(.014, .015, .020), Service: spread(.2, .21, .3),
		Idle: spread(1100, 1150), IdleCost: Cost{CPU: 2 * time.Second, Changes: 2, Written: 2 << 20},
		Busy:   Spread{Samples: []time.Duration{2 * time.Second}, Missed: "not within 2m0s"},
		Repair: Outcome{Missed: "not within 35s"},
		Memory: Memory{Settled: 256 << 20, Peak: 260 << 20, Total: 1200 << 20},
	}
	late := Run{Size: Size{100000, 1}, Backend: "legacy", Proxy: "kube-proxy", ColdStart: Outcome{Missed: "not within 2m0s"}}
	good := Run{Size: Size{100000, 1}, Backend: "legacy", Proxy: "espalier", ColdStart: at(3 * time.Second)}
	broken := Run{Size: Size{1000, 3}, Backend: "nft", Proxy: "<script>", Broken: "it ended (exit status 1); its last words:\nunknown flag"}
	return Report{
		Made: time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC), Command: "espalier bench --peer '<b>'", Churn: 20, Duration: 20 * time.Second,
		Machine: Machine{CPU: "A Processor", CPUs: 2, Memory: 24 << 30, Kernel: "6.18.0", Iptables: "iptables v1.8.9", Version: "v1"},
		Runs:    []Run{fast, slow, good, late, broken},
	}
}

// TestGolden compares all that is printed with testdata; go test -update rewrites it.
func TestGolden(t *testing.T) {
	r := example()
	for name, write := range map[string]func(io.Writer) error{
		"table.txt": r.WriteTable, "report.json": r.WriteJSON, "page.html": r.WriteHTML, "plots.svg": r.WriteSVG,
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := write(&got); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestJSONReadsBack(t *testing.T) {
	var text bytes.Buffer
	if err := example().WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	var page bytes.Buffer
	if err := example().WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"<script", "http:", "https:", "src=", "@import", "url(", "ZgotmplZ", "NaN", "Inf"} {
		if strings.Contains(page.String(), no) {
			t.Errorf("the page contains %q", no)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := Spread{}
	for i := range 100 {
		hundred.Samples = append(hundred.Samples, time.Duration(100-i))
	}
	for name, c := range map[string]struct {
		of   Spread
		q    float64
		want Outcome
	}{
		"the median of three is the middle one":   {Spread{Samples: []time.Duration{9, 1, 5}}, .5, Outcome{Took: 5}},
		"the median of two is the lower one":      {Spread{Samples: []time.Duration{9, 1}}, .5, Outcome{Took: 1}},
		"p99 of few is the highest":               {Spread{Samples: []time.Duration{9, 1, 5}}, .99, Outcome{Took: 9}},
		"p99 of a hundred is the highest but one": {hundred, .99, Outcome{Took: 99}},
		"nothing measured has a reason":           {Spread{Missed: "not within 2m0s"}, .5, Outcome{Missed: "not within 2m0s"}},
		"samples count even if it ended badly":    {Spread{Samples: []time.Duration{7}, Missed: "late"}, .5, Outcome{Took: 7}},
		"what was missed is above all samples":    {Spread{Samples: []time.Duration{7}, Missed: "late"}, .99, Outcome{Missed: "late"}},
		"nothing at all is nothing":               {Spread{}, .5, Outcome{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.of.Quantile(c.q); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestFormat(t *testing.T) {
	for want, got := range map[string]string{
		"7":        grouped(7),
		"1,000":    grouped(1000),
		"-123":     grouped(-123),
		"-100,000": grouped(-100000),
		"14 µs":    duration(14 * time.Microsecond),
		"7.46 ms":  duration(7460 * time.Microsecond),
		"74.6 ms":  duration(74600 * time.Microsecond),
		"746 ms":   duration(746 * time.Millisecond),
		"2.10 s":   duration(2100 * time.Millisecond),
		"71.0 s":   duration(71 * time.Second),
		"600 s":    duration(10 * time.Minute),
		"900 B":    size(900),
		"3 kB":     size(3 << 10),
		"1.5 MB":   size(1.5 * (1 << 20)),
		"150 MB":   size(150 << 20),
		"1.17 GB":  size(1200 << 20),
		"0.50×":    ratio(1, 2),
		"35.0×":    ratio(35, 1),
		"":         ratio(1, 0),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAxis(t *testing.T) {
	a := newAxis([]float64{0, .02, 3}, 100, 400)
	if a.low != .01 || a.high != 10 {
		t.Errorf("from %v to %v, want .01 to 10", a.low, a.high)
	}
	for value, want := range map[float64]float64{.01: 100, .1: 200, 1: 300, 10: 400, 0: 100, 99: 400} {
		if got := a.place(value); got != want {
			t.Errorf("%v is at %v, want %v", value, got, want)
		}
	}
	var labels []string
	for _, tick := range a.ticks(roundTime) {
		labels = append(labels, tick.Label)
	}
	if diff := cmp.Diff([]string{"10 ms", "100 ms", "1 s", "10 s"}, labels); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, values := range map[string][]float64{"nothing": nil, "one power of ten": {1}} {
		if a := newAxis(values, 0, 1); !(a.low < a.high) {
			t.Errorf("%s: from %v to %v", name, a.low, a.high)
		}
	}
}
