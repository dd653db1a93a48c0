package health

import (
	"sync"
	"time"

	"espalier/proxier/ipproto"
)

// State is what is known of how well the rules of this node follow the cluster. Its methods can be called from any
// goroutine. Make it with NewState.
type State struct {
	limit time.Duration

	mu       sync.Mutex
	families []*Progress // in the order of their start
}

// NewState returns a State that takes a change for overdue when it is not in the kernel for as long as limit.
func NewState(limit time.Duration) *State { return &State{limit: limit} }

// Family is the state of one family.
type Family struct {
	Family ipproto.Family
	// Updated is when a sync last succeeded, or the family was started.
	Updated time.Time
	// Pending is since when something is to be brought into the kernel: when the oldest change arrived that is not
	// there, or when the first of the syncs began that failed since the last good one. Zero: nothing is. To have
	// nothing to do, however long, is healthy.
	Pending time.Time
	// Healthy: it is not pending for too long.
	Healthy bool
}

// Start adds a family. It asks waiting when the oldest change arrived that no sync has taken yet; zero: there is
// none.
func (s *State) Start(f ipproto.Family, waiting func() time.Time) *Progress {
	p := &Progress{family: f, waiting: waiting, updated: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.families = append(s.families, p)
	return p
}

// Families returns the state of those that were started.
func (s *State) Families() []Family {
	s.mu.Lock()
	families := s.families[:len(s.families):len(s.families)]
	s.mu.Unlock()
	states := make([]Family, 0, len(families))
	now := time.Now()
	for _, p := range families {
		f := p.state()
		f.Healthy = f.Pending.IsZero() || now.Sub(f.Pending) < s.limit
		states = append(states, f)
	}
	return states
}

// Healthy reports whether all families are. Without any there is nothing to complain about.
func (s *State) Healthy() bool {
	for _, f := range s.Families() {
		if !f.Healthy {
			return false
		}
	}
	return true
}

// Progress is what one family has still to bring into the kernel.
//
// What arrives during a sync is not served by its success: only what the sync took was. And what a failed sync took
// is still to be served, also if nothing had changed and it was to repair something.
type Progress struct {
	family  ipproto.Family
	waiting func() time.Time

	mu      sync.Mutex
	taken   time.Time // what syncs have taken and none has brought into the kernel, or when the first of them began
	updated time.Time
}

// Take notes that a sync takes what is waiting. The function take does that, and returns when the oldest of it arrived,
// zero for nothing; false means that there is no sync. It runs under a lock, so that no change is lost sight of in
// between.
func (p *Progress) Take(take func() (oldest time.Time, sync bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	oldest, sync := take()
	if !sync {
		return
	}
	if oldest.IsZero() {
		oldest = now
	}
	p.taken = earlier(p.taken, oldest)
}

// Done notes that a sync ended, well or not.
func (p *Progress) Done(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.taken, p.updated = time.Time{}, time.Now()
	}
}

func (p *Progress) state() Family {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Family{Family: p.family, Updated: p.updated, Pending: earlier(p.taken, p.waiting())}
}

// earlier returns the earlier one of two times, of which the zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
