package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// diary notes what the API server says about the shop's endpoints and pods, and when. It is read when a request fails that
// should not.
type diary struct {
	mu      sync.Mutex
	entries []entry
}

type entry struct {
	at   time.Time
	text string
}

func (d *diary) note(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, entry{time.Now(), text})
}

// around returns what happened shortly before and after a time.
func (d *diary) around(at time.Time) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for _, e := range d.entries {
		if e.at.After(at.Add(-3*time.Second)) && e.at.Before(at.Add(time.Second)) {
			lines = append(lines, fmt.Sprintf("%s %s", e.at.Format("15:04:05.000"), e.text))
		}
	}
	return strings.Join(lines, "\n")
}

// keepDiary writes a diary until the test ends.
func (s *shopTest) keepDiary() {
	s.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s.Cleanup(stop)
	slices, err := s.c.Client.DiscoveryV1().EndpointSlices(shopNamespace).Watch(ctx, metav1.ListOptions{})
	s.must(err)
	pods, err := s.c.Client.CoreV1().Pods(shopNamespace).Watch(ctx, metav1.ListOptions{})
	s.must(err)
	for _, changes := range []watch.Interface{slices, pods} {
		go func() {
			for e := range changes.ResultChan() {
				s.diary.note(string(e.Type) + " " + describe(e.Object))
			}
		}()
	}
}

func describe(o any) string {
	switch o := o.(type) {
	case *discoveryv1.EndpointSlice:
		var endpoints []string
		for _, e := range o.Endpoints {
			endpoints = append(endpoints, fmt.Sprintf("%s(ready %t serving %t terminating %t)",
				e.Addresses[0], *e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating))
		}
		return fmt.Sprintf("slice %s: %s", o.Name, strings.Join(endpoints, " "))
	case *corev1.Pod:
		return fmt.Sprintf("pod %s on %s at %s: %s, ready %t, deleted %t", o.Name, o.Spec.NodeName, o.Status.PodIP, o.Status.Phase, isReady(o), o.DeletionTimestamp != nil)
	}
	return fmt.Sprintf("%T", o)
}
