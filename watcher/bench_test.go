package watcher_test

import (
	"fmt"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher"
	"espalier/watcher/synthetic"
)

// BenchmarkOneChange is one endpoint that changes its state in a large cluster, and the next snapshot.
func BenchmarkOneChange(b *testing.B) {
	for _, n := range []int{1000, 10_000, 30_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			state := synthetic.Cluster(1, synthetic.Size{Services: n, Endpoints: 3})
			tracker := watcher.New()
			tracker.Replace(state)
			tracker.SetSynced()
			v := tracker.View(ipproto.IPv4)
			v.Snapshot()
			var name model.SliceName
			for name = range state.Slices {
				break
			}
			b.ReportAllocs()
			for b.Loop() {
				changed := *state.Slices[name]
				changed.Addresses = append([]model.SliceAddress(nil), changed.Addresses...)
				changed.Addresses[0].Ready = !changed.Addresses[0].Ready
				state.Slices[name] = &changed
				tracker.SetSlice(&changed)
				if _, stamp, _ := v.Snapshot(); len(stamp.Changed) != 1 {
					b.Fatalf("changed: %v", stamp.Changed)
				}
			}
		})
	}
}

// BenchmarkReplace is a file source that read the same files again.
func BenchmarkReplace(b *testing.B) {
	size := synthetic.Size{Services: 10_000, Endpoints: 3}
	tracker := watcher.New()
	tracker.Replace(synthetic.Cluster(1, size))
	again := synthetic.Cluster(1, size)
	b.ReportAllocs()
	for b.Loop() {
		tracker.Replace(again)
	}
}

// BenchmarkStart is the initial state and its first snapshot.
func BenchmarkStart(b *testing.B) {
	state := synthetic.Cluster(1, synthetic.Size{Services: 30_000, Endpoints: 3})
	b.ReportAllocs()
	for b.Loop() {
		tracker := watcher.New()
		tracker.Replace(state)
		tracker.SetSynced()
		tracker.View(ipproto.IPv4).Snapshot()
	}
}
