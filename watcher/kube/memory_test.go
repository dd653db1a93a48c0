package kube

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"espalier/watcher/kube/kubetest"
)

// fill gives the server n Services, each with a slice of three endpoints and with notes of a given size.
func fill(s *kubetest.Server, n, notes int) {
	note := strings.Repeat("x", notes)
	for i := range n {
		web := service(fmt.Sprint("web-", i), fmt.Sprintf("10.%d.%d.%d", 96+i>>16, i>>8&255, i&255))
		web.Annotations = map[string]string{"note": note}
		var addrs []string
		for e := range 3 {
			addrs = append(addrs, fmt.Sprintf("10.%d.%d.%d@node-%d", 128+e, i>>8&255, i&255, i%100))
		}
		pods := slice(web.Name, web.Name+"-x7k2p", addrs...)
		pods.Annotations = web.Annotations
		for e := range pods.Endpoints {
			pods.Endpoints[e].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: fmt.Sprint(web.Name, "-", e)}
			pods.Endpoints[e].Conditions = discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)}
		}
		s.Apply(web, pods)
	}
	s.Apply(nodeObject("here", "eu-1", "192.168.0.1"))
}

// heap returns the bytes that are in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// follow starts Run and waits until the Tracker has everything.
func (r *rig) follow() {
	r.run(hurry())
	for {
		if _, _, ok := r.v4.Snapshot(); ok {
			return
		}
		select {
		case <-r.v4.Changed():
		case <-r.ctx.Done():
			r.t.Fatalf("never synced; log:\n%s", strings.Join(r.log, "\n"))
		}
	}
}

// Nothing of the objects but what the Tracker wants stays in memory, however they came.
func TestRunKeepsNoObjects(t *testing.T) {
	for name, b := range map[string]kubetest.Behaviour{"streamed": {}, "listed": {NoStreams: true}} {
		t.Run(name, func(t *testing.T) {
			const n, notes = 100, 64 << 10
			r := newRig(t)
			fill(r.server, n, notes)
			r.server.Behave(b)
			before := heap()
			r.follow()
			// A change of each, too, as it does not take the way of the initial state.
			fill(r.server, n, notes)
			// The last event of each watch: nothing is under way any more when both have arrived.
			r.server.Apply(service("last", "10.97.0.1"), slice("last", "last-1", "10.128.9.9"))
			for !slices.Contains(lines(r.v4), "shop/last 10.97.0.1:80 to 10.128.9.9:8080") {
				select {
				case <-r.v4.Changed():
				case <-r.ctx.Done():
					t.Fatal("the last change does not arrive")
				}
			}
			if kept := heap() - before; kept > n*notes/2 {
				t.Errorf("%d bytes are kept of %d objects with %d bytes of notes each", kept, 2*n, notes)
			}
		})
	}
}

// BenchmarkRunStart measures the start with a whole cluster: how long until the Tracker has it, and what it costs
// in memory, afterwards (heap-B/service) and in garbage on the way, which includes that of the server.
func BenchmarkRunStart(b *testing.B) {
	for name, behaviour := range map[string]kubetest.Behaviour{"streamed": {}, "listed": {NoStreams: true}} {
		b.Run("services=10000/"+name, func(b *testing.B) {
			const n = 10_000
			server := newRig(b)
			fill(server.server, n, 200)
			server.server.Behave(behaviour)
			var kept int
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				r := newRig(b)
				r.config.REST.Host = server.server.URL
				before := heap()
				b.StartTimer()
				r.follow()
				b.StopTimer()
				kept += heap() - before
				r.stop()
				b.StartTimer()
			}
			b.ReportMetric(float64(kept)/float64(b.N)/n, "heap-B/service")
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "services/s")
			b.ReportMetric(float64(b.Elapsed()/time.Duration(b.N)/time.Millisecond), "ms/start")
		})
	}
}
