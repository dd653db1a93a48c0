package convert

import (
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTrigger(t *testing.T) {
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name, text string
		want       time.Time
	}{
		{"what the control plane writes", "2026-11-24T12:00:00Z", noon},
		{"nanoseconds", "2026-11-24T12:00:00.000000007Z", noon.Add(7)},
		{"another zone", "2026-11-24T13:30:00+01:30", noon},
		{"nothing", "", time.Time{}},
		{"garbage", "yesterday", time.Time{}},
		{"a date", "2026-11-24", time.Time{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
				Annotations: map[string]string{"endpoints.kubernetes.io/last-change-trigger-time": test.text},
			}}
			if got := Trigger(s); !got.Equal(test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
	if got := Trigger(&discoveryv1.EndpointSlice{}); !got.IsZero() {
		t.Errorf("%v of a slice without annotations", got)
	}
	if got := Trigger(nil); !got.IsZero() {
		t.Errorf("%v of no slice", got)
	}
}
