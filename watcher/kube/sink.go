package kube

import (
	"k8s.io/client-go/tools/cache"

	"espalier/proxier/model"
)

// sink is what a reflector takes for its store. It passes everything on, and remembers names only.
//
// K is the name of an object, V what the Tracker takes for it. The reflector calls all methods from one goroutine.
type sink[K comparable, V any] struct {
	// object returns kind and name, for reports: "Service shop/web".
	object func(K) string
	// read converts an API object, completely: nothing of the result refers to the object.
	read func(obj any) (item[K, V], error)
	// set and remove pass on to the Tracker.
	set    func(K, V)
	remove func(K)

	reports *reports
	link    *link
	// listed is called after each time that the state was complete.
	listed func()

	present map[K]struct{} // what was set and not removed
	broken  map[K]struct{} // what has problems
}

// item is an object, reduced to what is wanted of it.
type item[K comparable, V any] struct {
	key      K
	value    V
	serve    bool // false: the object is not for this proxy, or not usable
	problems []model.Problem
}

// These are the interfaces of a reflector's store that sink has; all but the first are optional.
var (
	_ cache.ReflectorStore         = (*sink[int, int])(nil)
	_ cache.TransformingStore      = (*sink[int, int])(nil)
	_ cache.ReflectorBookmarkStore = (*sink[int, int])(nil)
)

func newSink[K comparable, V any]() *sink[K, V] {
	return &sink[K, V]{listed: func() {}, present: map[K]struct{}{}, broken: map[K]struct{}{}}
}

// Transformer lets the reflector convert the objects of an initial stream one by one, instead of collecting
// them until the stream is complete. Replace gets the results.
func (s *sink[K, V]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return s.item(obj) }
}

// item converts an object, if that has not been done.
func (s *sink[K, V]) item(obj any) (item[K, V], error) {
	if it, ok := obj.(item[K, V]); ok {
		return it, nil
	}
	return s.read(obj)
}

// Add takes a new object, or one that began to match the selectors.
func (s *sink[K, V]) Add(obj any) error { return s.Update(obj) }

// Update takes a new version of an object.
func (s *sink[K, V]) Update(obj any) error {
	it, err := s.item(obj)
	if err != nil {
		return err
	}
	s.link.works()
	s.put(it)
	return nil
}

// Delete takes the last version of an object that is gone, or does not match the selectors any more.
func (s *sink[K, V]) Delete(obj any) error {
	it, err := s.item(obj)
	if err != nil {
		return err
	}
	s.link.works()
	s.drop(it.key)
	return nil
}

// Replace takes all objects that there are. What else was known has been deleted while nobody was watching.
//
// New objects are set before old ones are removed, so that a Service whose endpoints moved to a slice of
// another name is not without endpoints for a moment.
func (s *sink[K, V]) Replace(objs []any, _ string) error {
	gone := make(map[K]struct{}, len(s.present)+len(s.broken))
	for key := range s.present {
		gone[key] = struct{}{}
	}
	for key := range s.broken {
		gone[key] = struct{}{}
	}
	for i, obj := range objs {
		it, err := s.item(obj)
		if err != nil {
			return err
		}
		objs[i] = nil // ours, and large
		s.put(it)
		delete(gone, it.key)
	}
	for key := range gone {
		s.drop(key)
	}
	s.link.works()
	s.listed()
	return nil
}

// Bookmark is a sign of life of a watch that has nothing to say.
func (s *sink[K, V]) Bookmark(string) error {
	s.link.works()
	return nil
}

// Resync would repeat everything from time to time, for receivers that lose things. The Tracker does not.
func (s *sink[K, V]) Resync() error { return nil }

func (s *sink[K, V]) put(it item[K, V]) {
	s.report(it.key, it.problems)
	if it.serve {
		s.present[it.key] = struct{}{}
		s.set(it.key, it.value)
		return
	}
	s.unset(it.key)
}

func (s *sink[K, V]) drop(key K) {
	s.report(key, nil)
	s.unset(key)
}

func (s *sink[K, V]) unset(key K) {
	if _, ok := s.present[key]; ok {
		delete(s.present, key)
		s.remove(key)
	}
}

// report passes the problems of an object on. Nearly every object has none and never had any.
func (s *sink[K, V]) report(key K, problems []model.Problem) {
	if _, was := s.broken[key]; !was && len(problems) == 0 {
		return
	}
	if len(problems) == 0 {
		delete(s.broken, key)
	} else {
		s.broken[key] = struct{}{}
	}
	s.reports.set(s.object(key), problems)
}
