package kube

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// How long the start waits, in the fake time of a bubble. A time of -1 means never.
func TestInitialWait(t *testing.T) {
	const never = -1
	for _, test := range []struct {
		name                                   string
		services, slices, node, usable, ranged time.Duration // when it arrives
		needRanges                             bool
		want                                   time.Duration // when it is complete
		addressless                            bool
		err                                    error
	}{
		{"everything at once", 0, 0, 0, 0, never, false, 0, false, nil},
		{"slices are late", 1, 40, 1, 1, never, false, 40, false, nil},
		{"Services are late", 40, 1, 1, 1, never, false, 40, false, nil},
		{"the Node registers after us", 1, 1, 1, 20, never, false, 20, false, nil},
		{"there is no Node", 1, 2, 1, never, never, false, 31, true, nil},
		{"no Node, and the time for it passed meanwhile", 1, 50, 1, never, never, false, 50, true, nil},
		{"the time for the Node begins with the first answer about it", 1, 2, 100, never, never, false, 130, true, nil},
		{"no answer about the Node, no start", 5, 6, never, never, never, false, never, false, nil},
		{"no slices, no start", 1, never, 1, 1, never, false, never, false, nil},
		{"no answer, no start", never, never, never, never, never, false, never, false, nil},
		{"pod ranges are late", 1, 2, 1, 1, 200, true, 200, false, nil},
		{"pod ranges that nobody needs are not awaited", 1, 2, 1, 1, 200, false, 2, false, nil},
		{"neither an address nor pod ranges at first", 1, 2, 1, never, 300, true, 300, true, nil},
		{"no pod ranges", 1, 2, 1, 1, never, true, 301, false, errNoRanges},
		{"no Node, but it is needed", 1, 2, 1, never, never, true, 331, true, errNoRanges},
		{"no pod ranges, and nothing else either", never, never, 1, 20, never, true, 320, false, errNoRanges},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				i := initial{newSignal(), newSignal(), newSignal(), newSignal(), newSignal(), 30 * time.Second, 5 * time.Minute}
				for _, s := range []struct {
					signal
					at time.Duration
				}{{i.services, test.services}, {i.slices, test.slices}, {i.node, test.node}, {i.usable, test.usable}, {i.ranged, test.ranged}} {
					if s.at != never {
						time.AfterFunc(s.at*time.Second, s.give)
						time.AfterFunc((s.at+1)*time.Second, s.give) // a relist
					}
				}
				start, missed := time.Now(), 0
				err := i.wait(ctx, test.needRanges, func() { missed++ })
				want := test.err
				if test.want == never {
					want = context.DeadlineExceeded
				} else if got := time.Since(start); got != test.want*time.Second {
					t.Errorf("waited %v, want %ds", got, test.want)
				}
				if !errors.Is(err, want) {
					t.Errorf("error %v, want %v", err, want)
				}
				if missed > 1 || (missed == 1) != test.addressless {
					t.Errorf("addressless was called %d times, want it to be %v", missed, test.addressless)
				}
			})
		})
	}
}
