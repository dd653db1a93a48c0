package kube

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// How long the start waits, in the fake time of a bubble. A time of -1 means never.
func TestInitialWait(t *testing.T) {
	const never = -1
	for _, test := range []struct {
		name                           string
		services, slices, node, usable time.Duration // when it arrives
		want                           time.Duration // when it is complete
		missed                         bool
	}{
		{"everything at once", 0, 0, 0, 0, 0, false},
		{"slices are late", 1, 40, 1, 1, 40, false},
		{"Services are late", 40, 1, 1, 1, 40, false},
		{"the Node registers after us", 1, 1, 1, 20, 20, false},
		{"there is no Node", 1, 2, 1, never, 31, true},
		{"no Node, and the time for it passed meanwhile", 1, 50, 1, never, 50, true},
		{"the Node is forbidden", 5, 6, never, never, 35, true},
		{"the Node came in the last moment of a long list", 1, 50, 1, 49, 50, false},
		{"no slices, no start", 1, never, 1, 1, never, false},
		{"no answer, no start", never, never, never, never, never, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				i := initial{newSignal(), newSignal(), newSignal(), newSignal()}
				for _, s := range []struct {
					signal
					at time.Duration
				}{{i.services, test.services}, {i.slices, test.slices}, {i.node, test.node}, {i.usable, test.usable}} {
					if s.at != never {
						time.AfterFunc(s.at*time.Second, s.give)
						time.AfterFunc((s.at+1)*time.Second, s.give) // a relist
					}
				}
				start, missed := time.Now(), 0
				err := i.wait(ctx, func() { missed++ })
				if got := time.Since(start); err == nil && got != test.want*time.Second || err != nil && test.want != never {
					t.Errorf("waited %v (%v), want %ds", got, err, test.want)
				}
				if missed > 1 || (missed == 1) != test.missed {
					t.Errorf("missed was called %d times, want it to be %v", missed, test.missed)
				}
			})
		})
	}
}
