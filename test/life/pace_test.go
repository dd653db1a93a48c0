package life

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// An endpoint comes and goes 100 times a second. With a minimum interval there is one sync for each, and the last state
// is in the kernel. Without one it is the same with our own pace, which proxier/syncer tests in a time of its own.
func TestFlappingEndpoints(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		min  time.Duration
	}{{"with a minimum interval", 500 * time.Millisecond}, {"without", 0}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.api.Apply(node("127.0.0.1"))
			s.start("--cluster-cidr=10.180.0.0/16", "--iptables-min-sync-period="+test.min.String())
			s.served("172.30.0.1")
			before, began := s.syncs(), time.Now()
			ticks := time.NewTicker(10 * time.Millisecond)
			defer ticks.Stop()
			const events = 300
			for i := range events {
				<-ticks.C
				s.api.Apply(slice("web", fmt.Sprintf("10.180.1.%d", 1+i%2), fmt.Sprintf("10.180.2.%d", 1+i%250)))
			}
			s.api.Apply(slice("web", "10.180.3.3"))
			s.eventually("the last endpoint", "true", func() string {
				rules := s.rules()
				return boolText(strings.Contains(rules, "10.180.3.3:8080") && !strings.Contains(rules, "10.180.1.") && !strings.Contains(rules, "10.180.2."))
			})
			s.settled()
			made := s.syncs() - before
			if most := int(time.Since(began)/max(test.min, time.Millisecond)) + 1; made > most || made > events+1 {
				t.Errorf("%d syncs of %d events in %v, want at most %d", made, events, time.Since(began), most)
			}
			if made == 0 {
				t.Error("no sync was made, or none was logged")
			}
			// Another Service costs one, so nothing was left to do.
			before = s.syncs()
			s.api.Apply(service("next", "172.30.0.2"))
			s.eventually("syncs for one more Service", "1", func() string { return fmt.Sprint(s.syncs() - before) })
		})
	}
}

// syncs is how often the log tells of a sync of IPv4.
func (s *site) syncs() int { return strings.Count(s.log.String(), `"Synced" family="ipv4"`) }

// settled waits until the program says that all it knows of is in the kernel. It logs a sync before it says so, and after
// the rules are there.
func (s *site) settled() {
	s.t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.DialContext}}
	s.eventually("nothing is to be written", "true", func() string {
		resp, err := client.Get("http://127.0.0.1:10249/metrics")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return boolText(strings.Contains(string(text), `espalier_oldest_change_age_seconds{ip_family="IPv4"} 0`+"\n"))
	})
}
