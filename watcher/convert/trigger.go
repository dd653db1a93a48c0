package convert

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Trigger returns when that happened in the cluster because of which the slice was written: a Pod became ready,
// say. The clock is the control plane's. The zero time means that the slice does not say so, or nothing that can
// be read; that costs an observation in a metric, and is no problem of the slice.
func Trigger(s *discoveryv1.EndpointSlice) time.Time {
	if s == nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s.Annotations[corev1.EndpointsLastChangeTriggerTime])
	if err != nil {
		return time.Time{}
	}
	return t
}
