package syncer

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
)

// TestFlappingEndpointsAreSyncedAtThePaceOfWrites: an endpoint comes and goes 100 times a second. There is one sync for
// each (duration + interval), and one for what the last event said.
func TestFlappingEndpointsAreSyncedAtThePaceOfWrites(t *testing.T) {
	for _, test := range []struct {
		name           string
		min            time.Duration
		writing, pause time.Duration
	}{
		{"with a minimum interval", time.Second, 203 * time.Millisecond, time.Second},
		{"with a minimum interval that is shorter than a write", 50 * time.Millisecond, 203 * time.Millisecond, 50 * time.Millisecond},
		{"without one, half of what a write takes", 0, 203 * time.Millisecond, 203 * time.Millisecond / 2},
		{"without one, and with writes that are very slow", 0, 3*time.Second + 7, time.Second},
		{"without one, and with writes that are faster than events", 0, time.Millisecond + 7, (time.Millisecond + 7) / 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			const events, apart = 1000, 10 * time.Millisecond
			reports, began := flap(t, test.min, test.writing, events, apart)
			lasted := events * apart
			most := int(lasted/max(test.writing+test.pause, apart)) + 2 // the first one, and the last one, which ends later
			if len(reports) > most || len(reports) < most-2 {
				t.Errorf("%d syncs of %d events in %v, want at most %d, and hardly less", len(reports), events, lasted, most)
			}
			late := 0
			for i, r := range reports {
				if i > 0 {
					if rest := r.Began.Sub(reports[i-1].Began.Add(reports[i-1].Took)); rest < test.pause {
						t.Fatalf("sync %d began %v after the end of the one before, want %v", i, rest, test.pause)
					}
				}
				if !r.Began.Before(began.Add(lasted - apart)) {
					late++
				}
			}
			if late != 1 {
				t.Errorf("%d syncs after the last event, want 1", late)
			}
		})
	}
}

// flap lets an endpoint come and go, as often as there are events, and returns what the syncs reported until a minute
// after the last event, and when the first event was.
func flap(t *testing.T, pause, writing time.Duration, events int, apart time.Duration) (reports []Report, began time.Time) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{writing: writing}
		source := &fakeSource{changed: make(chan struct{}, 1)}
		s := &Syncer{
			Family: ipproto.IPv4, Kernel: k, Source: source, MinInterval: pause, RetryInterval: time.Minute,
			Settings: func(n model.Node) (model.Node, plan.Config, error) { return n, config, nil },
			Foreign:  func(context.Context) (Others, error) { return Others{}, nil },
			Report:   func(r Report) { reports = append(reports, r) },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		began = time.Now()
		for i := range events {
			// It comes back elsewhere each time, so that no sync finds all as it was, and so has nothing to rest from.
			source.change(nil, back(service("front", "10.96.0.1"), fmt.Sprintf("10.244.0.1:%d", 1+i)))
			time.Sleep(apart)
		}
		time.Sleep(time.Minute)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		assertHolds(t, k, wanted(source))
	})
	return reports, began
}
