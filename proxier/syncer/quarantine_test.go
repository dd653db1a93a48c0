package syncer

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
)

var poison = netip.MustParseAddrPort("10.244.0.66:80")

// programmed returns what the kernel should hold without some Services.
func programmed(source *fakeSource, without ...string) ruleset.Ruleset {
	s := source.snapshot
	s.Services = maps.Clone(s.Services)
	maps.DeleteFunc(s.Services, func(n model.ServiceName, _ model.Entry) bool { return slices.Contains(without, n.Name) })
	rules, _ := plan.Plan(s, config)
	return rules
}

func assertQuarantined(t *testing.T, r Report, names ...string) {
	t.Helper()
	var got []string
	for n, q := range r.Quarantined {
		got = append(got, n.Name)
		if q.Err == nil || q.Since.IsZero() {
			t.Errorf("Service %s is in quarantine since %v because of %v, want when and why", n, q.Since, q.Err)
		}
	}
	slices.Sort(got)
	if r.Err != nil || !slices.Equal(got, names) {
		t.Errorf("error %v, quarantined %v; want none, %v", r.Err, got, names)
	}
}

func TestServiceThatTheKernelRefusesStopsOnlyItself(t *testing.T) {
	for _, anonymously := range []bool{false, true} {
		for _, size := range []int{3, 100, 1000} {
			t.Run(fmt.Sprintf("anonymously=%v/services=%d", anonymously, size), func(t *testing.T) {
				k := &fakeKernel{poison: poison, anonymously: anonymously}
				run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
					var all []backed
					for i := range size {
						all = append(all, back(service(fmt.Sprintf("web-%d", i), fmt.Sprintf("10.97.%d.%d", i/250, i%250))))
					}
					all[1].endpoints = []string{"10.244.0.1:80", poison.String()}
					source.change(nil, all...)
					assertQuarantined(t, <-reports, "web-1")
					assertHolds(t, k, programmed(source, "web-1"))

					// Others go on changing, one by one.
					source.change(nil, back(all[2].Service, "10.244.0.2:80"))
					assertQuarantined(t, <-reports, "web-1")
					assertHolds(t, k, programmed(source, "web-1"))

					// It is programmed as soon as it is healed.
					source.change(nil, back(all[1].Service, "10.244.0.1:80"))
					assertQuarantined(t, <-reports)
					assertHolds(t, k, wanted(source))
				})
			})
		}
	}
}

func TestServiceThatBecomesRefusedIsFoundAmongTheChangedOnes(t *testing.T) {
	k := &fakeKernel{poison: poison}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"), service("back", "10.96.0.2"))
		<-reports
		source.change(nil, back(service("front", "10.96.0.1"), poison.String())) // its rule is in a chain that both share
		assertQuarantined(t, <-reports, "front")
		assertHolds(t, k, programmed(source, "front"))
	})
}

// Who hears of reports learns once that a Service is left out, and once that it is not any more; failed syncs in between
// change nothing about that.
func TestQuarantineIsNewsOnce(t *testing.T) {
	k := &fakeKernel{poison: poison}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		bad, good := back(service("front", "10.96.0.1"), poison.String()), back(service("front", "10.96.0.1"), "10.244.0.1:80")
		other := func(endpoint string) backed { return back(service("back", "10.96.0.2"), endpoint) }
		front := []model.ServiceName{bad.Name}
		check := func(what string, r Report, failed bool, leftOut, takenIn []model.ServiceName) {
			t.Helper()
			if (r.Err != nil) != failed || !slices.Equal(r.LeftOut, leftOut) || !slices.Equal(r.TakenIn, takenIn) {
				t.Errorf("%s: error %v, left out %v, taken in %v; want failure %v, %v, %v", what, r.Err, r.LeftOut, r.TakenIn, failed, leftOut, takenIn)
			}
		}
		source.change(nil, bad, other("10.244.0.2:80"))
		check("it is refused", <-reports, false, front, nil)
		source.change(nil, other("10.244.0.3:80"))
		check("another one changes", <-reports, false, nil, nil)
		k.unreadable.Store(true)
		source.change(nil, good)
		check("it is healed, but nothing can be read", <-reports, true, nil, nil)
		k.unreadable.Store(false)
		check("it is programmed", <-reports, false, nil, front)
		source.change(nil, other("10.244.0.4:80"))
		check("another one changes again", <-reports, false, nil, nil)
	})
}

func TestServiceInQuarantineIsTriedAgainNowAndThen(t *testing.T) {
	k := &fakeKernel{poison: poison}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.change(nil, back(service("front", "10.96.0.1"), poison.String()), back(service("back", "10.96.0.2")))
		assertQuarantined(t, <-reports, "front")
		start := time.Now()
		assertQuarantined(t, <-reports, "front") // still refused
		if waited := time.Since(start); waited != firstTrial {
			t.Errorf("tried again after %v, want %v", waited, firstTrial)
		}
		k.healed.Store(true) // a module was loaded, say
		assertQuarantined(t, <-reports)
		assertHolds(t, k, wanted(source))
	})
}

func TestRefusalThatNoServiceIsToBlameForIsAnError(t *testing.T) {
	k := &fakeKernel{refuse: 1000}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		if r := <-reports; r.Err == nil || len(r.Quarantined) != 0 {
			t.Errorf("error %v, quarantined %v; want the refusal and nobody", r.Err, r.Quarantined)
		}
	})
}
