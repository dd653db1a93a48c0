package watcher

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

func TestPendingCountsChangesAndEventsCountEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker, v := synced(t) // with shop/web and its slice
		mustSnapshot(t, v)
		seen := v.Pending().Latest
		before := tracker.Events()

		time.Sleep(time.Second)
		tracker.SetService(web, service(web, "10.96.0.1")) // as it was
		tracker.SetSlice(slice("web-1", web, "10.128.0.1"))
		if got, want := v.Pending(), (Pending{Latest: seen}); got != want {
			t.Errorf("nothing changed: pending %+v, want %+v", got, want)
		}
		first := time.Now()
		tracker.SetService(api, service(api, "10.96.0.2"))
		time.Sleep(time.Second)
		tracker.SetSlice(slice("api-1", api, "10.128.0.2"))
		tracker.SetSlice(slice("api-1", api, "10.128.0.3"))
		if got, want := v.Pending(), (Pending{Since: first, Latest: time.Now(), Services: 1, Slices: 2}); got != want {
			t.Errorf("pending %+v, want %+v", got, want)
		}
		mustSnapshot(t, v)
		if got, want := v.Pending(), (Pending{Latest: time.Now()}); got != want {
			t.Errorf("after a snapshot: pending %+v, want %+v", got, want)
		}
		tracker.DeleteSlice(model.SliceName{Namespace: "shop", Name: "api-1"})
		tracker.DeleteService(api)
		after := tracker.Events()
		if got, want := (Events{after.Services - before.Services, after.Slices - before.Slices}), (Events{Services: 3, Slices: 4}); got != want {
			t.Errorf("events %+v, want %+v", got, want)
		}
	})
}

func TestEligibilityWakesNobody(t *testing.T) {
	tracker, v := synced(t)
	mustSnapshot(t, v)
	if tracker.Eligible() {
		t.Error("a node that nobody has seen is eligible")
	}
	tracker.SetEligible(true)
	if !tracker.Eligible() || awake(v) || v.Pending().Since != (time.Time{}) {
		t.Error("want the node to be eligible, and no reader to be woken up")
	}
	tracker.Replace(State{})
	if tracker.Eligible() {
		t.Error("a source that does not say so leaves the node eligible")
	}
}

func TestTriggers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		time.Sleep(time.Minute)
		tracker, v := synced(t)
		mustSnapshot(t, v)
		time.Sleep(time.Minute)
		now := time.Now()
		v6 := tracker.View(ipproto.IPv6)

		taken := func(when string, want ...time.Time) {
			t.Helper()
			_, stamp := mustSnapshot(t, v)
			if diff := cmp.Diff(want, stamp.Triggers); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		tracker.SetSliceSince(slice("web-1", web, "10.128.0.1"), now)
		taken("another time is no change")
		tracker.SetSliceSince(slice("web-1", web, "10.128.0.2"), now)
		tracker.SetSliceSince(slice("web-1", web, "10.128.0.3"), now.Add(time.Second))
		tracker.SetSlice(slice("web-2", web, "10.128.0.4"))
		taken("two changes say when", now, now.Add(time.Second))
		taken("they are told once")
		tracker.SetSliceSince(slice("web-1", web, "10.128.0.1"), start)
		taken("what happened before the Tracker existed says nothing about it")
		tracker.SetSliceSince(slice("api-1", api, "10.128.0.9"), now)
		taken("nor do slices of a Service that does not exist")
		tracker.SetSliceSince(slice("web-1", web, "10.128.0.5"), now)
		tracker.DeleteSlice(model.SliceName{Namespace: "shop", Name: "web-2"})
		taken("a slice that goes takes the others of its Service along")
		for i := range 3 * maxTriggers {
			tracker.SetSliceSince(slice("web-1", web, "10.128.1."+string(rune('1'+i%2))), now)
		}
		if _, stamp := mustSnapshot(t, v); len(stamp.Triggers) != maxTriggers {
			t.Errorf("%d times, want them to be bounded", len(stamp.Triggers))
		}
		if _, stamp, _ := v6.Snapshot(); len(stamp.Triggers) > 0 {
			t.Errorf("the other family is told %v", stamp.Triggers)
		}
	})
}
