package conntrack

import "time"

const (
	// echoDelay is longer than an answer is on its way.
	echoDelay = time.Second
	// maxEchoes limits the memory. That so many clients of a frontend were answered before it was one is not
	// known from anywhere.
	maxEchoes = 10_000
)

// echoes are entries that may come into being because another was deleted.
//
// Where something answers at the address of a frontend without being its endpoint, an answer may be on its way while
// the entry of the question is deleted. The kernel takes it for the first packet of a connection, of which all
// that the client sends from then on is the answer, so that no rule gets to see it. So the entry is deleted once more
// a little later, whatever its direction. An answer of an endpoint does no harm: it is not from where the client sends
// to.
type echoes struct{ waiting []echo }

type echo struct {
	flow Flow
	at   frontend
	due  time.Time
}

// add notes that a flow to a frontend is about to be deleted.
func (e *echoes) add(f Flow, at frontend) {
	if f.translated() || f.ReplyDst != f.Src || len(e.waiting) == maxEchoes {
		return
	}
	f.ID = [4]byte{} // it would be another entry
	e.waiting = append(e.waiting, echo{f, at, time.Now().Add(echoDelay)})
}

// next returns when the next one is due.
func (e *echoes) next() (time.Time, bool) {
	if len(e.waiting) == 0 {
		return time.Time{}, false
	}
	return e.waiting[0].due, true
}

// take takes those that are due, and returns those of frontends that are still served.
func (e *echoes) take(served func(frontend) bool) []Flow {
	now := time.Now()
	var due []Flow
	for len(e.waiting) > 0 && !e.waiting[0].due.After(now) {
		if one := e.waiting[0]; served(one.at) {
			due = append(due, one.flow)
		}
		e.waiting = e.waiting[1:]
	}
	if len(e.waiting) == 0 {
		e.waiting = nil
	}
	return due
}
