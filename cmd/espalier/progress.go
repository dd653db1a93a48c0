package main

import (
	"time"

	"espalier/proxier/health"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/status"
	"espalier/proxier/syncer"
	"espalier/watcher"
)

// progress gives a syncer what it needs of a tracker's view, and shows how far it has come with that. The syncer's
// goroutine owns it.
type progress struct {
	view   *watcher.View
	health *health.Progress
	status *status.Family
	// triggers are when changes happened that syncs have taken and none has brought into the kernel.
	triggers []time.Time
}

// maxTriggers bounds what is remembered while the kernel refuses everything.
const maxTriggers = 10000

// progress starts to show a family.
func (s *shown) progress(f ipproto.Family, view *watcher.View) *progress {
	return &progress{
		view:   view,
		health: s.state.Start(f, func() time.Time { return view.Pending().Since }),
		status: s.status.Start(f, func() status.Waiting {
			p := view.Pending()
			return status.Waiting{Services: p.Services, Slices: p.Slices, Latest: p.Latest}
		}),
	}
}

// Changed is what the view says.
func (p *progress) Changed() <-chan struct{} { return p.view.Changed() }

// Step is what the view says; a sync takes it.
func (p *progress) Step() (step model.Step, since time.Time, complete bool) {
	p.health.Take(func() (time.Time, bool) {
		var stamp watcher.Stamp
		step, stamp, complete = p.view.Step()
		since = p.took(stamp)
		return since, complete
	})
	return step, since, complete
}

// Snapshot is what the view says; the sync that is under way takes it.
func (p *progress) Snapshot() (s model.Snapshot, since time.Time) {
	p.health.Take(func() (time.Time, bool) {
		var stamp watcher.Stamp
		s, stamp, _ = p.view.Snapshot()
		since = p.took(stamp)
		return since, true
	})
	return s, since
}

func (p *progress) took(stamp watcher.Stamp) time.Time {
	p.triggers = append(p.triggers, stamp.Triggers[:min(len(stamp.Triggers), maxTriggers-len(p.triggers))]...)
	return stamp.Since
}

// report shows what a sync did. A change that it could not bring into the kernel goes on to be measured.
func (p *progress) report(done syncer.Report) {
	p.health.Done(done.Err)
	p.status.Report(done)
	if done.Err == nil {
		p.status.Programmed(p.triggers)
		p.triggers = nil
	}
}
