package file

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestDebounce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		events []time.Duration // since the first one
		want   []time.Duration // when the timer fires
	}{
		{"one event", []time.Duration{0}, []time.Duration{quiet}},
		{"a burst is one", []time.Duration{0, 10 * time.Millisecond, 40 * time.Millisecond}, []time.Duration{40*time.Millisecond + quiet}},
		{"two events are two", []time.Duration{0, 2 * quiet}, []time.Duration{quiet, 3 * quiet}},
		{"what never ends", every(30*time.Millisecond, 3*time.Second),
			[]time.Duration{1000 * time.Millisecond, 2020 * time.Millisecond, 3020 * time.Millisecond}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, began, events := newDebounce(), time.Now(), tc.events
				for _, want := range tc.want {
					for fired := false; !fired; {
						next := time.NewTimer(time.Hour)
						if len(events) > 0 {
							next.Reset(events[0] - time.Since(began))
						}
						select {
						case <-d.timer.C:
							fired = true
							if got := time.Since(began); got != want {
								t.Errorf("fires after %v, want %v", got, want)
							}
							d.done()
						case <-next.C:
							if len(events) == 0 {
								t.Fatalf("does not fire; want after %v", want)
							}
							d.note()
							events = events[1:]
						}
						next.Stop()
					}
				}
			})
		})
	}
}

func every(step, until time.Duration) (events []time.Duration) {
	for at := time.Duration(0); at < until; at += step {
		events = append(events, at)
	}
	return events
}
