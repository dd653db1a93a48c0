package kube

import (
	"slices"
	"sync"

	"espalier/proxier/model"
)

// reports passes the problems of objects on when they change, one object at a time.
type reports struct {
	to func(object string, problems []model.Problem) // may be nil

	mu    sync.Mutex
	known map[string][]model.Problem // without those that have none
}

func newReports(to func(string, []model.Problem)) *reports {
	return &reports{to: to, known: map[string][]model.Problem{}}
}

// set says which problems an object has now. An object can change often without its problems doing so.
func (r *reports) set(object string, problems []model.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(r.known[object], problems) {
		return
	}
	if len(problems) == 0 {
		delete(r.known, object)
	} else {
		r.known[object] = problems
	}
	if r.to != nil {
		r.to(object, problems)
	}
}
