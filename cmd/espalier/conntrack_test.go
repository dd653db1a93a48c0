package main

import (
	"bytes"
	"errors"
	"flag"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"espalier/proxier/conntrack"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/status"
	"espalier/proxier/status/statustest"
	"espalier/proxier/syncer"
)

// TestConntrackLog: one line when the table cannot be cleaned any more, and one when it can again.
func TestConntrackLog(t *testing.T) {
	var out bytes.Buffer
	var flags flag.FlagSet
	klog.InitFlags(&flags)
	restore := klog.CaptureState()
	defer restore.Restore()
	for name, value := range map[string]string{"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL", "one_output": "true"} {
		if err := flags.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	klog.SetOutput(&out)
	good := conntrack.Report{Family: ipproto.IPv4}
	bad := conntrack.Report{Family: ipproto.IPv4, Err: conntrack.ErrPrivilege}
	var l conntrackLog
	for _, r := range []conntrack.Report{good, bad, bad, bad, good, good, bad} {
		l.report(r)
	}
	klog.Flush()
	var got []string
	for line := range strings.Lines(out.String()) {
		_, text, _ := strings.Cut(line, "] ")
		got = append(got, strings.TrimSpace(text))
	}
	const failing = `"UDP clients may go on sending to endpoints that are gone: their conntrack entries cannot be deleted" err="not permitted: it needs CAP_NET_ADMIN" family="ipv4"`
	want := []string{failing, `"Conntrack is clean again" family="ipv4"`, failing}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestConntrackSync: what is cleaned after which sync.
func TestConntrackSync(t *testing.T) {
	for _, tt := range []struct {
		name                    string
		done                    syncer.Report
		failed, whole, repaired bool
	}{
		{"a change", syncer.Report{Written: 2}, false, false, false},
		{"a failed change", syncer.Report{Written: 2, Err: errors.New("no")}, true, false, false},
		{"a whole sync that found nothing to do", syncer.Report{Whole: true}, false, true, false},
		{"a whole sync that wrote", syncer.Report{Whole: true, Written: 1}, false, true, true},
		{"a whole sync that removed", syncer.Report{Whole: true, Deleted: 1}, false, true, true},
		{"a whole sync that put a jump back", syncer.Report{Whole: true, Jumps: 1}, false, true, true},
	} {
		s := conntrackSync(tt.done)
		if s.Failed != tt.failed || s.Whole != tt.whole || s.Repaired != tt.repaired {
			t.Errorf("%s: failed %v, whole %v, repaired %v", tt.name, s.Failed, s.Whole, s.Repaired)
		}
	}
}

// TestConntrackNodePorts: entries of node ports are those to where node ports answer.
func TestConntrackNodePorts(t *testing.T) {
	home, other := netip.MustParseAddr("192.168.0.2"), netip.MustParseAddr("10.9.9.9")
	done := syncer.Report{
		Family: ipproto.IPv4,
		Node:   model.Node{Addrs: []netip.Addr{home, other}},
		Config: plan.Config{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}},
	}
	got, err := conntrackSync(done).NodePorts()
	if err != nil {
		t.Fatal(err)
	}
	if want := conntrack.NewAddresses([]netip.Addr{home}, false); !reflect.DeepEqual(got, want) {
		t.Errorf("node ports answer on %v, want %v", got, want)
	}
}

// TestCountConntrack: a run that failed is not measured, and what it deleted is not forgotten.
func TestCountConntrack(t *testing.T) {
	s := status.New(status.Facts{})
	count := countConntrack(s)
	failed := conntrack.Report{Family: ipproto.IPv4, Tally: conntrack.Tally{Deleted: 3}, Took: time.Hour, Err: errors.New("no")}
	good := conntrack.Report{Family: ipproto.IPv4, Tally: conntrack.Tally{Deleted: 4}, Took: time.Second}
	count(failed)
	count(good)
	count(good)
	if got := series(t, s, "kubeproxy_conntrack_reconciler_deleted_entries_total"); got != 11 {
		t.Errorf("%v entries deleted, want 11", got)
	}
	if got := series(t, s, "kubeproxy_conntrack_reconciler_sync_duration_seconds"); got != 2 {
		t.Errorf("%v runs measured, want 2", got)
	}
}

// series returns the value of a metric of IPv4.
func series(t *testing.T, s *status.Status, name string) float64 {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler(status.Pages{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	families, err := statustest.Parse(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := statustest.Value(families, name, map[string]string{"ip_family": "IPv4"})
	return n
}
