package watcher

import (
	"maps"
	"slices"
	"time"

	"espalier/proxier/model"
)

// View is how one reader sees one family. A View remembers what its reader has seen, so two readers need two.
type View struct {
	tracker *Tracker
	cluster *cluster
	changed chan struct{}

	// The Tracker's lock guards what follows.
	pending Pending
	all     bool                           // no snapshot was taken yet
	names   map[model.ServiceName]struct{} // entries that changed since the last snapshot of this view
	// triggers are, of the Services whose slices changed since then, the times of Stamp.Triggers.
	triggers map[model.ServiceName][]time.Time
}

// maxTriggers bounds what is remembered of a Service whose endpoints change and change while nobody looks.
const maxTriggers = 100

// Pending is what no snapshot of a View shows yet.
type Pending struct {
	// Since is when the oldest of the changes arrived, but not before the initial state was complete; zero: there
	// is none. Latest is when the latest change of all arrived, also one that a snapshot shows.
	Since, Latest time.Time
	// Services and Slices count changes.
	Services, Slices int
}

// Stamp says how a snapshot differs from the one that the same View returned before.
type Stamp struct {
	// Version grows with every change that matters to the family.
	Version uint64
	// Since is when the oldest of the changes arrived that this snapshot is the first to show, but not before
	// the initial state was complete. Zero: nothing is new.
	Since time.Time
	// Changed are the Services that were added, removed, or have another Service or other Backends, sorted.
	Changed []model.ServiceName
	// All: this is the first snapshot of the View, so every Service is new and Changed is empty.
	All bool
	// Triggers are the times at which changes happened that this snapshot is the first to show, as far as slices say
	// so. They are by the control plane's clock, and in no order.
	Triggers []time.Time
}

// Changed returns a channel that holds a token while there are changes that no snapshot of this View shows.
// A thousand changes are one token. Snapshot takes the token away if the reader did not.
func (v *View) Changed() <-chan struct{} { return v.changed }

// Snapshot returns the family's current state, and false as long as the initial state is not complete.
// Without changes in between, it returns the same values again.
func (v *View) Snapshot() (model.Snapshot, Stamp, bool) {
	v.tracker.mu.Lock()
	defer v.tracker.mu.Unlock()
	c := v.cluster
	if !c.synced {
		return model.Snapshot{}, Stamp{}, false
	}
	c.publish()
	c.shared = true
	return model.Snapshot{Family: c.family, Node: c.node, Services: c.entries}, v.take(), true
}

// Step returns what changed since the last Step or Snapshot of this View, and false as long as the initial state
// is not complete. Unlike that of a Snapshot, its cost does not depend on the size of the cluster; only the first
// Step is the whole cluster.
func (v *View) Step() (model.Step, Stamp, bool) {
	v.tracker.mu.Lock()
	defer v.tracker.mu.Unlock()
	c := v.cluster
	if !c.synced {
		return model.Step{}, Stamp{}, false
	}
	c.publish()
	stamp := v.take()
	step := model.Step{Family: c.family, Node: c.node, All: stamp.All, Services: c.entries}
	if step.All {
		c.shared = true
		return step, stamp, true
	}
	step.Services = make(map[model.ServiceName]model.Entry, len(stamp.Changed))
	for _, name := range stamp.Changed {
		step.Services[name] = c.entries[name]
	}
	return step, stamp, true
}

// Pending returns what no snapshot of this View shows yet. A reader that just finished its work with a snapshot learns
// so whether it is up to date.
func (v *View) Pending() Pending {
	v.tracker.mu.Lock()
	defer v.tracker.mu.Unlock()
	return v.pending
}

// wake notes a change at the given time.
func (v *View) wake(now time.Time) {
	if v.pending.Since.IsZero() {
		v.pending.Since = now
	}
	v.pending.Latest = now
	select {
	case v.changed <- struct{}{}:
	default: // the reader has not taken the last token yet
	}
}

// take returns the stamp of a snapshot that the reader gets now.
func (v *View) take() Stamp {
	stamp := Stamp{Version: v.cluster.version, Since: v.pending.Since, All: v.all}
	if !v.all && len(v.names) > 0 {
		stamp.Changed = slices.SortedFunc(maps.Keys(v.names), model.ServiceName.Compare)
	}
	for _, times := range v.triggers {
		stamp.Triggers = append(stamp.Triggers, times...)
	}
	v.pending, v.all = Pending{Latest: v.pending.Latest}, false
	v.names, v.triggers = emptied(v.names), emptied(v.triggers)
	select {
	case <-v.changed:
	default:
	}
	return stamp
}
