package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/test/bench/report"
)

func TestParsePeer(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Proxy
	}{
		"named like its program": {"/usr/bin/kube-proxy  --kubeconfig {kubeconfig}", Proxy{"kube-proxy", []string{"/usr/bin/kube-proxy", "--kubeconfig", "{kubeconfig}"}}},
		"with a name":            {"nftables=kube-proxy --proxy-mode nftables", Proxy{"nftables", []string{"kube-proxy", "--proxy-mode", "nftables"}}},
		"a path may have an =":   {"/opt/a=b/proxy", Proxy{"proxy", []string{"/opt/a=b/proxy"}}},
		"flags may have an =":    {"proxy --v=2", Proxy{"proxy", []string{"proxy", "--v=2"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParsePeer(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, bad := range []string{"", "  ", "=proxy", "name="} {
		if got, err := ParsePeer(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

func TestCommandIsFilledIn(t *testing.T) {
	got := Proxy{Argv: []string{"p", "--a={kubeconfig}", "{node}", "{cluster-cidr}", "{backend}", "{other}"}}.command("/k", "nft")
	want := []string{"p", "--a=/k", "node-0", "10.128.0.0/9", "nft", "{other}"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSumIn(t *testing.T) {
	const at = `I0101 00:00:00.000000       1 reporter.go:1] `
	for name, c := range map[string]struct {
		log   string
		want  int
		known bool
	}{
		"somebody else's log says nothing": {"I0101 \"Syncing iptables rules\"\n", 0, false},
		"a sync says how many":             {at + `"Synced" family="ipv4" chainsWritten=2 commits=1 rules=12` + "\n", 1, true},
		"none is a number, too":            {at + `"Synced" chainsWritten=0 commits=0` + "\n", 0, true},
		"those of all syncs are added":     {at + `"Synced" chainsWritten=2000 commits=17` + "\n" + at + `"Synced" chainsWritten=1 commits=1` + "\n", 18, true},
		"other lines are not syncs":        {"I0101 x] \"Programming\" commits=3\n", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if sum := sumIn(c.log, "commits"); sum != (tally{c.want, c.known}) {
				t.Errorf("got %+v; want %d, %t", sum, c.want, c.known)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	var file, screen strings.Builder
	for _, p := range []*Progress{{Out: &file}, {Out: &screen, Terminal: true}} {
		p.Begin("cold start of %s", "x")
		p.End("cold start of %s: %d ms", "x", 7)
	}
	if want := "cold start of x: 7 ms\n"; file.String() != want {
		t.Errorf("in a file: %q, want %q", file.String(), want)
	}
	if want := "\r\x1b[Kcold start of x …\r\x1b[Kcold start of x: 7 ms\n"; screen.String() != want {
		t.Errorf("on a terminal: %q, want %q", screen.String(), want)
	}
}

func TestCheck(t *testing.T) {
	good := Config{
		Sizes: []report.Size{{Services: 10, Endpoints: 1}}, Backends: []string{"nft"}, Duration: time.Second, Pause: time.Second, Patience: time.Second,
		RepairPatience: time.Second,
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"no size to measure":                    func(c *Config) { c.Sizes = nil },
		"2 x 1: want at least 3 Services":       func(c *Config) { c.Sizes = []report.Size{{Services: 2, Endpoints: 1}} },
		"600000 Services: want 0 to":            func(c *Config) { c.Sizes = []report.Size{{Services: 600000, Endpoints: 1}} },
		`backend "ipvs": want nft or legacy`:    func(c *Config) { c.Backends = []string{"ipvs"} },
		"install iptables":                      func(c *Config) { c.Backends = nil },
		"churn of -1 changes":                   func(c *Config) { c.Churn = -1 },
		"durations must be above zero":          func(c *Config) { c.Patience = 0 },
		"1,000,000 x 0: want at least 3 Servic": func(c *Config) { c.Sizes = []report.Size{{Services: 1000000}} },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
