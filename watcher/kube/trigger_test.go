package kube

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"espalier/proxier/model"
)

func triggered[T metav1.Object](o T, at time.Time) T {
	o.SetAnnotations(map[string]string{corev1.EndpointsLastChangeTriggerTime: at.Format(time.RFC3339Nano)})
	return o
}

// The time at which a Pod became ready, say, comes through with the change that it led to; how old the slices of
// the beginning are is nobody's business.
func TestRunTellsWhatTriggeredAChange(t *testing.T) {
	r := newRig(t)
	now := time.Now().UTC().Round(0)
	long, soon := now.Add(-time.Hour), now.Add(time.Minute)
	shop(r.server)
	r.server.Apply(triggered(slice("web", "web-1", "10.0.0.1@here", "10.0.0.2@there"), long))
	r.run(hurry())
	var got []time.Time
	want := func(what string, objects []runtime.Object, want ...time.Time) {
		t.Helper()
		r.server.Apply(objects...)
		got = nil
		for {
			step, stamp, ok := r.v4.Step()
			got = append(got, stamp.Triggers...)
			if _, changed := step.Services[model.ServiceName{Namespace: "shop", Name: "web"}]; ok && changed {
				break
			}
			select {
			case <-r.v4.Changed():
			case <-r.ctx.Done():
				t.Fatalf("%s never arrives", what)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	want("the initial state", nil)
	want("an endpoint", []runtime.Object{triggered(slice("web", "web-1", "10.0.0.3@here"), soon)}, soon)
	want("an endpoint without a time", []runtime.Object{slice("web", "web-1", "10.0.0.4@here")})
}
