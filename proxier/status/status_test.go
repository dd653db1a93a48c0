package status

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"espalier/proxier/delta"
	"espalier/proxier/health"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/status/statustest"
	"espalier/proxier/syncer"
)

// facts are those of a node about which everything is known.
func facts() Facts {
	return Facts{
		Version: "v1", Node: "node-1",
		Health: func() []health.Family {
			return []health.Family{
				{Family: ipproto.IPv4, Pending: time.Now().Add(-time.Minute)},
				{Family: ipproto.IPv6, Healthy: true},
			}
		},
		Events:   func() (uint64, uint64) { return 7, 9 },
		Counters: func() map[string]uint64 { return map[string]uint64{plan.AcctInvalid: 3, plan.AcctLocalhost: 4} },
		Problems: func() []model.Problem { return []model.Problem{{Object: "Service shop/<web>", Text: "spec.x: is odd"}} },
	}
}

func waiting(w Waiting) func() Waiting { return func() Waiting { return w } }

// scrapeOf reads the metrics as Prometheus does.
func scrapeOf(t *testing.T, s *Status) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler(Pages{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	families, err := statustest.Parse(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// want compares series with "name{label=value,...}" as key.
func want(t *testing.T, families map[string]*dto.MetricFamily, values map[string]float64) {
	t.Helper()
	for series, wanted := range values {
		name, rest, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
		labels := map[string]string{}
		for pair := range strings.SplitSeq(rest, ",") {
			if label, value, ok := strings.Cut(pair, "="); ok {
				labels[label] = value
			}
		}
		got, ok := statustest.Value(families, name, labels)
		if !ok || got != wanted {
			t.Errorf("%s is %v (there: %v), want %v", series, got, ok, wanted)
		}
	}
}

// good is a first sync that wrote 12 rules.
func good() syncer.Report {
	return syncer.Report{
		Family: ipproto.IPv4, Whole: true, Began: time.Unix(1000, 0), Took: 20 * time.Millisecond,
		Planning: time.Millisecond, Reading: 2 * time.Millisecond, Writing: 3 * time.Millisecond,
		Rules: syncer.Counts{Filter: 4, Nat: 8}, Payload: syncer.Counts{Filter: 4, Nat: 8}, Programmed: 2,
		Written: 6, Jumps: 14, Input: delta.Written{Commits: 2, Bytes: 3000},
	}
}

// TestMetricsAreThoseOfKubeProxy: after a sync, a step, one that failed, and a probe. The file was recorded from
// kube-proxy 1.37.2; package test/status says how.
func TestMetricsAreThoseOfKubeProxy(t *testing.T) {
	recorded, err := os.ReadFile("../../test/status/testdata/kube-proxy-1.37.2/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	var golden strings.Builder
	for line := range strings.Lines(string(recorded)) {
		if strings.HasPrefix(line, "kubeproxy_") {
			golden.WriteString(line)
		}
	}
	s := New(facts())
	f := s.Start(ipproto.IPv4, waiting(Waiting{}))
	f.Report(good())
	f.Programmed([]time.Time{time.Now()})
	f.Report(syncer.Report{Rules: syncer.Counts{Nat: 1}, Err: errors.New("refused"), StepFailed: true, Refusals: 1})
	s.Answered(health.Healthz, 200)
	s.Answered(health.Livez, 503)
	s.Conntrack(ipproto.IPv4, time.Second, 3)
	families := scrapeOf(t, s)
	if diff := cmp.Diff(golden.String(), statustest.Describe(families, "kubeproxy_")); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	for name, f := range families {
		if strings.HasPrefix(name, "kubeproxy_") && !strings.HasPrefix(f.GetHelp(), "[ALPHA] ") {
			t.Errorf("%s: help is %q, want [ALPHA] in front", name, f.GetHelp())
		}
		if strings.HasPrefix(name, "espalier_") && !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("%s: help is %q, want a sentence", name, f.GetHelp())
		}
	}
	for _, name := range []string{"process_start_time_seconds", "process_resident_memory_bytes", "go_goroutines", "go_gc_heap_live_bytes", "kubernetes_build_info"} {
		if families[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

// TestNothingIsShownBeforeItHappened: alerts ask for the absence of series.
func TestNothingIsShownBeforeItHappened(t *testing.T) {
	s := New(Facts{})
	f := s.Start(ipproto.IPv4, waiting(Waiting{}))
	f.Report(good())
	f.Programmed(nil)
	families := scrapeOf(t, s)
	for _, name := range []string{programming, restoreFailures, partialFailures, partialSyncDuration, healthzAnswers, conntrackDuration, invalidDropped, localhostAccepted, serviceEvents} {
		if families[name] != nil {
			t.Errorf("%s is there: %v", name, families[name])
		}
	}
}

func TestReportsBecomeMetrics(t *testing.T) {
	s := New(facts())
	latest := time.Now().Add(time.Hour)
	four := s.Start(ipproto.IPv4, waiting(Waiting{Services: 1, Slices: 2, Latest: latest}))
	six := s.Start(ipproto.IPv6, waiting(Waiting{Services: 1, Slices: 3}))
	four.Report(good())
	step := syncer.Report{Began: time.Unix(2000, 0), Rules: syncer.Counts{Filter: 4, Nat: 9}, Payload: syncer.Counts{Nat: 3}, Input: delta.Written{Commits: 1, Bytes: 100}, Programmed: 3}
	four.Report(step)
	four.Report(syncer.Report{Err: errors.New("refused"), Whole: true, StepFailed: true, Refusals: 2, Input: delta.Written{Commits: 1, Bytes: 50}})
	six.Report(syncer.Report{Foreign: true, Whole: true, Written: 3, Deleted: 1, Jumps: 2})
	six.Report(syncer.Report{Foreign: true, Whole: true}) // others wrote elsewhere
	m := scrapeOf(t, s)
	want(t, m, map[string]float64{
		syncDuration + "{ip_family=IPv4}":                             3,
		fullSyncDuration + "{ip_family=IPv4}":                         2,
		partialSyncDuration + "{ip_family=IPv4}":                      1,
		lastSync + "{ip_family=IPv4}":                                 2000,
		lastQueued + "{ip_family=IPv4}":                               float64(latest.UnixNano()) / 1e9,
		rulesTotal + "{ip_family=IPv4,table=nat}":                     9,
		rulesTotal + "{ip_family=IPv4,table=filter}":                  4,
		rulesLast + "{ip_family=IPv4,table=nat}":                      3,
		rulesLast + "{ip_family=IPv4,table=filter}":                   0,
		restoreFailures + "{ip_family=IPv4}":                          2,
		partialFailures + "{ip_family=IPv4}":                          1,
		servicesPending:                                               2,
		slicesPending:                                                 5,
		serviceEvents:                                                 14, // of both families
		sliceEvents:                                                   9,
		commits + "{ip_family=IPv4}":                                  4,
		writtenBytes + "{ip_family=IPv4}":                             3150,
		programmed + "{ip_family=IPv4}":                               3,
		stageDuration + "{ip_family=IPv4,stage=plan}":                 1,
		foreignWrites + "{ip_family=IPv4}":                            0,
		foreignWrites + "{ip_family=IPv6}":                            2,
		repairs + "{ip_family=IPv6}":                                  1,
		repairedChains + "{ip_family=IPv6}":                           4,
		repairedJumps + "{ip_family=IPv6}":                            2,
		invalidDropped:                                                3,
		localhostAccepted:                                             4,
		oldestChange + "{ip_family=IPv6}":                             0,
		noLocalEndpoints + "{ip_family=IPv4,traffic_policy=internal}": 0,
	})
	if age, _ := statustest.Value(m, oldestChange, map[string]string{familyLabel: "IPv4"}); age < 60 || age > 120 {
		t.Errorf("the oldest change is %v s old, want a minute and what the test took", age)
	}
}

// TestGapsFollowTheServicesOfReports: whatever the order, the sum is that of the Services as they are.
func TestGapsFollowTheServicesOfReports(t *testing.T) {
	name := func(n string) model.ServiceName { return model.ServiceName{Namespace: "shop", Name: n} }
	port := model.ServicePort{PortKey: model.PortKey{Proto: ipproto.TCP}, Port: 80}
	remote := model.Backends{port.PortKey: {{Addr: netip.MustParseAddrPort("10.244.2.1:80"), Ready: true, Serving: true}}}
	gap := model.Entry{Service: &model.Service{InternalLocal: true, Ports: []model.ServicePort{port}}, Backends: remote}
	none := model.Entry{Service: &model.Service{Ports: []model.ServicePort{port}}, Backends: remote}
	report := func(whole bool, services map[model.ServiceName]model.Entry) syncer.Report {
		return syncer.Report{Whole: whole, Services: services}
	}
	s := New(Facts{})
	f := s.Start(ipproto.IPv4, waiting(Waiting{}))
	for i, step := range []struct {
		report syncer.Report
		want   float64
	}{
		{report(true, map[model.ServiceName]model.Entry{name("a"): gap, name("b"): none}), 1},
		{report(false, map[model.ServiceName]model.Entry{name("b"): gap}), 2},
		{report(false, map[model.ServiceName]model.Entry{name("b"): gap}), 2},
		{report(false, map[model.ServiceName]model.Entry{name("a"): none}), 1},
		{report(false, map[model.ServiceName]model.Entry{name("b"): {}}), 0},
		{report(false, map[model.ServiceName]model.Entry{name("c"): gap}), 1},
		{report(true, map[model.ServiceName]model.Entry{name("d"): gap, name("e"): gap}), 2},
	} {
		f.Report(step.report)
		t.Logf("step %d", i)
		want(t, scrapeOf(t, s), map[string]float64{noLocalEndpoints + "{ip_family=IPv4,traffic_policy=internal}": step.want})
	}
}

func TestQuarantineIsNamedUntilItEnds(t *testing.T) {
	s := New(facts())
	f := s.Start(ipproto.IPv4, waiting(Waiting{}))
	r := good()
	r.Quarantined = map[model.ServiceName]syncer.Quarantined{}
	for i := range maxNamed + 50 {
		r.Quarantined[model.ServiceName{Namespace: "shop", Name: fmt.Sprintf("bad-%03d", i)}] = syncer.Quarantined{
			Since: time.Now(), Again: time.Now().Add(90 * time.Minute), Err: errors.New(`line 7 "-A <X>" refused`),
		}
	}
	f.Report(r)
	m := scrapeOf(t, s)
	want(t, m, map[string]float64{
		quarantined + "{ip_family=IPv4}":                                    maxNamed + 50,
		quarantinedInfo + "{ip_family=IPv4,namespace=shop,service=bad-000}": 1,
		quarantinedInfo + "{ip_family=IPv4,namespace=shop,service=bad-099}": 1,
	})
	if n := len(m[quarantinedInfo].Metric); n != maxNamed {
		t.Errorf("%d are named, want no more than %d", n, maxNamed)
	}
	for _, accept := range []string{"*/*", "text/html,application/xhtml+xml"} {
		page := get(t, s, Pages{}, "/statusz", "Accept", accept)
		for _, part := range []string{"shop/bad-149", "in 1h", "refused"} {
			if !strings.Contains(page.body, part) {
				t.Errorf("the page for %s does not say %q:\n%s", accept, part, page.body)
			}
		}
	}
	f.Report(good())
	m = scrapeOf(t, s)
	want(t, m, map[string]float64{quarantined + "{ip_family=IPv4}": 0})
	if m[quarantinedInfo] != nil {
		t.Errorf("still named: %v", m[quarantinedInfo])
	}
}
