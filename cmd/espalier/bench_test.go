package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"espalier/test/bench/report"
)

func TestBenchSizes(t *testing.T) {
	for name, c := range map[string]struct {
		flags []string
		want  []report.Size
		bad   string
	}{
		"without flags the whole sweep": {nil, []report.Size{{Services: 1000, Endpoints: 3}, {Services: 10000, Endpoints: 3},
			{Services: 5000, Endpoints: 50}, {Services: 30000, Endpoints: 5}, {Services: 100000, Endpoints: 1}}, ""},
		"quick is the first of it":          {[]string{"--quick"}, []report.Size{{Services: 1000, Endpoints: 3}}, ""},
		"three endpoints unless said":       {[]string{"--services=70"}, []report.Size{{Services: 70, Endpoints: 3}}, ""},
		"one number of endpoints for all":   {[]string{"--services=70,80", "--endpoints=2"}, []report.Size{{Services: 70, Endpoints: 2}, {Services: 80, Endpoints: 2}}, ""},
		"pairs":                             {[]string{"--services=70,80", "--endpoints=2,9"}, []report.Size{{Services: 70, Endpoints: 2}, {Services: 80, Endpoints: 9}}, ""},
		"numbers that do not pair":          {[]string{"--services=1,2,3", "--endpoints=1,2"}, nil, "2 numbers for 3 of --services"},
		"endpoints of nothing":              {[]string{"--endpoints=2"}, nil, "give --services too"},
		"quick, but also something else":    {[]string{"--quick", "--services=5"}, nil, "exclude each other"},
		"no Services":                       {[]string{"--services=0"}, nil, "0 x 3: want at least 3 Services"},
		"an output that does not exist":     {[]string{"--quick", "-o", "xml"}, nil, `"xml" is not table or json`},
		"a peer without a program":          {[]string{"--quick", "--peer", " "}, nil, "want a command line"},
		"a backend that does not exist":     {[]string{"--quick", "--iptables-backend=ipvs"}, nil, `backend "ipvs"`},
		"a churn that cannot be":            {[]string{"--quick", "--churn=-1"}, nil, "churn of -1"},
		"more endpoints than addresses":     {[]string{"--services=400000", "--endpoints=100"}, nil, "want at most"},
		"a timeout that is over at once":    {[]string{"--quick", "--timeout=0s"}, nil, "above zero"},
		"a duration that is over before it": {[]string{"--quick", "--duration=-1s"}, nil, "above zero"},
	} {
		t.Run(name, func(t *testing.T) {
			var b benchmark
			flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
			b.addFlags(flags)
			if err := flags.Parse(c.flags); err != nil {
				t.Fatal(err)
			}
			if len(b.backends) == 0 {
				b.backends = []string{"nft"} // whatever is installed here
			}
			got, err := b.config()
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Fatalf("got %v, want %q", err, c.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Sizes); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
