package file

import "time"

// Files seldom change alone: an editor writes, renames and removes, and `kubectl get -o yaml > f` truncates the
// file before it writes. A reading waits until nothing happened for the time of quiet, but for a directory in
// which there is never quiet, not longer than patience.
const (
	quiet    = 50 * time.Millisecond
	patience = time.Second
)

// debounce turns a burst of events into one.
type debounce struct {
	timer *time.Timer
	since time.Time // of the first event of the burst; the zero time: there was none
}

func newDebounce() *debounce {
	d := &debounce{timer: time.NewTimer(quiet)}
	d.timer.Stop()
	return d
}

// note takes an event in. The timer's channel will tell when to act on it.
func (d *debounce) note() {
	now := time.Now()
	if d.since.IsZero() {
		d.since = now
	}
	d.timer.Reset(min(quiet, max(0, d.since.Add(patience).Sub(now))))
}

// done ends the burst, after the timer's channel told.
func (d *debounce) done() { d.since = time.Time{} }
