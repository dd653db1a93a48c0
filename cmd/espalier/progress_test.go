package main

import (
	"errors"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"espalier/proxier/health"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/status"
	"espalier/proxier/status/statustest"
	"espalier/proxier/syncer"
	"espalier/watcher"
)

// shownFamily is a family that follows a Tracker.
func shownFamily() (*shown, *watcher.Tracker, *progress) {
	s := &shown{state: health.NewState(time.Minute), status: status.New(status.Facts{})}
	tracker := watcher.New()
	return s, tracker, s.progress(ipproto.IPv4, tracker.View(ipproto.IPv4))
}

func setService(t *watcher.Tracker, ip string) {
	name := model.ServiceName{Namespace: "shop", Name: "web"}
	t.SetService(name, &model.Service{Name: name, ClusterIP: netip.MustParseAddr(ip)})
}

func setSlice(t *watcher.Tracker, addr string) {
	t.SetSliceSince(&model.Slice{
		Name: model.SliceName{Namespace: "shop", Name: "web-1"}, Service: model.ServiceName{Namespace: "shop", Name: "web"}, Family: ipproto.IPv4,
		Addresses: []model.SliceAddress{{Addr: netip.MustParseAddr(addr)}},
	}, time.Now())
}

// A change that arrives while a sync works is not served by its success, and one that a failed sync took is still to
// be served, although nothing in the Tracker waits any more.
func TestProgressKnowsWhatIsPending(t *testing.T) {
	s, tracker, p := shownFamily()
	pending := func() bool { return !s.state.Families()[0].Pending.IsZero() }
	expect := func(when string, want bool) {
		t.Helper()
		if got := pending(); got != want {
			t.Errorf("%s: pending %v, want %v", when, got, want)
		}
	}
	setService(tracker, "10.96.0.1")
	if _, _, complete := p.Step(); complete {
		t.Fatal("the state is complete before anybody said so")
	}
	expect("an incomplete state", false)
	tracker.SetSynced()
	expect("a state that nobody has looked at", true)
	p.Step()
	p.Snapshot()
	expect("during the sync", true)
	p.report(syncer.Report{Whole: true})
	expect("after the sync", false)

	setService(tracker, "10.96.0.2")
	p.Step()
	setService(tracker, "10.96.0.3")
	p.report(syncer.Report{})
	expect("a change arrived during the sync", true)
	p.Step()
	p.report(syncer.Report{Err: errors.New("refused")})
	expect("the sync failed", true)
	p.Step() // the retry
	p.Snapshot()
	p.report(syncer.Report{Whole: true})
	expect("the retry worked", false)
}

// What a failed sync took is measured when it is in the kernel.
func TestProgressMeasuresChangesThatFailedAtFirst(t *testing.T) {
	s, tracker, p := shownFamily()
	setService(tracker, "10.96.0.1")
	tracker.SetSynced()
	p.Step()
	p.report(syncer.Report{Whole: true})
	measured := func() float64 {
		w := httptest.NewRecorder()
		s.status.Handler(status.Pages{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		families, err := statustest.Parse(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := statustest.Value(families, "kubeproxy_network_programming_duration_seconds", map[string]string{"ip_family": "IPv4"})
		return n
	}
	setSlice(tracker, "10.244.0.1")
	p.Step()
	p.report(syncer.Report{Err: errors.New("refused")})
	if n := measured(); n != 0 {
		t.Errorf("%v changes measured, but none is in the kernel", n)
	}
	setSlice(tracker, "10.244.0.2")
	p.Step()
	p.report(syncer.Report{})
	if n := measured(); n != 2 {
		t.Errorf("%v changes measured, want both", n)
	}
	p.Step()
	p.report(syncer.Report{})
	if n := measured(); n != 2 {
		t.Errorf("%v changes measured, want each once", n)
	}
}
