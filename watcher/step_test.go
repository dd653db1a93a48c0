package watcher

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

func mustStep(t *testing.T, v *View) model.Step {
	t.Helper()
	step, _, ok := v.Step()
	if !ok {
		t.Fatal("there is no step")
	}
	return step
}

func TestFirstStepIsTheWholeCluster(t *testing.T) {
	tracker := New()
	tracker.SetService(web, service(web, "10.96.0.1"))
	v := tracker.View(ipproto.IPv4)
	if _, _, ok := v.Step(); ok {
		t.Error("there is a step before the initial state is complete")
	}
	tracker.SetSynced()
	if step := mustStep(t, v); !step.All || len(step.Services) != 1 || step.Services[web].Service == nil {
		t.Errorf("first step is %+v, want all of one Service", step)
	}
	if step := mustStep(t, v); step.All || len(step.Services) != 0 {
		t.Errorf("second step is %+v, want nothing", step)
	}
}

func TestStepHasWhatChangedAndNothingElse(t *testing.T) {
	tracker, v := synced(t)
	tracker.SetService(api, service(api, "10.96.0.2"))
	if step := mustStep(t, v); step.All || len(step.Services) != 1 || step.Services[api].Service == nil {
		t.Errorf("after a new Service the step is %+v, want that one", step)
	}
	tracker.DeleteService(web)
	step := mustStep(t, v)
	if e, changed := step.Services[web]; len(step.Services) != 1 || !changed || e.Service != nil {
		t.Errorf("after a deletion the step is %+v, want that Service without a value", step)
	}
	if awake(v) {
		t.Error("a token is left although everything was seen")
	}
}

func TestSnapshotAndStepsDoNotDisturbEachOther(t *testing.T) {
	tracker, v := synced(t)
	before, _ := mustSnapshot(t, v)
	tracker.SetSlice(slice("web-1", web, "10.128.0.2"))
	mustStep(t, v)
	tracker.DeleteService(web)
	mustStep(t, v)
	if diff := cmp.Diff([]string{"10.128.0.1:8080"}, endpoints(before, web)); diff != "" {
		t.Errorf("a snapshot changed after it was handed out (-want +got):\n%s", diff)
	}
	after, _ := mustSnapshot(t, v)
	if diff := cmp.Diff([]string{"no Service"}, endpoints(after, web)); diff != "" {
		t.Errorf("a snapshot after steps is not the newest state (-want +got):\n%s", diff)
	}
}
