package kubetest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// store has the objects and what happened to them. Objects in it are never changed, only replaced.
type store struct {
	mu      sync.Mutex
	version uint64
	objects map[string]map[string]runtime.Object // by resource and "namespace/name"
	names   map[string][]string                  // of objects, sorted, by resource; none: not known
	events  []event
	oldest  uint64        // changes after this version are in events
	grown   chan struct{} // closed when events grows
}

// event is a change of one object, or a bookmark if there is no object.
type event struct {
	version  uint64
	resource string
	old, new runtime.Object // nil: there was none, there is none
}

func newStore() *store {
	s := &store{version: 1, oldest: 1, objects: map[string]map[string]runtime.Object{}, names: map[string][]string{}, grown: make(chan struct{})}
	for _, k := range kinds {
		s.objects[k.resource] = map[string]runtime.Object{}
	}
	return s
}

func (s *store) put(o runtime.Object) {
	kind, m := describe(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	m.SetResourceVersion(strconv.FormatUint(s.version, 10))
	// Encoders print what they find here, and must not have to change the object to know it.
	o.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(kind.version, kind.single))
	old := s.objects[kind.resource][key(m)]
	s.objects[kind.resource][key(m)] = o
	if old == nil {
		delete(s.names, kind.resource)
	}
	s.grow(event{version: s.version, resource: kind.resource, old: old, new: o})
}

func (s *store) remove(o runtime.Object) {
	kind, m := describe(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.objects[kind.resource][key(m)]
	if old == nil {
		return
	}
	s.version++
	delete(s.objects[kind.resource], key(m))
	delete(s.names, kind.resource)
	s.grow(event{version: s.version, resource: kind.resource, old: old})
}

func (s *store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.oldest = s.version
	s.events = nil
	s.grow()
}

func (s *store) bookmark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grow(event{version: s.version})
}

func (s *store) grow(e ...event) {
	s.events = append(s.events, e...)
	close(s.grown)
	s.grown = make(chan struct{})
}

// list returns all objects of a resource, ordered by name, and their common version.
func (s *store) list(resource string) ([]runtime.Object, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects := s.objects[resource]
	list := make([]runtime.Object, 0, len(objects))
	if s.names[resource] == nil {
		s.names[resource] = slices.Sorted(maps.Keys(objects))
	}
	for _, name := range s.names[resource] {
		list = append(list, objects[name])
	}
	return list, s.version
}

// since returns what happened after a version, and a channel that closes when there is more. It returns false
// if that is forgotten.
func (s *store) since(version uint64, seen int) (news []event, next int, more <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version < s.oldest {
		return nil, 0, nil, false
	}
	for _, e := range s.events[min(seen, len(s.events)):] {
		if e.version > version || e.old == nil && e.new == nil && e.version == version {
			news = append(news, e)
		}
	}
	return news, len(s.events), s.grown, true
}

// describe panics for objects that the server does not have: that is a mistake in a test.
func describe(o runtime.Object) (kind, metav1.Object) {
	m, err := meta.Accessor(o)
	if err != nil {
		panic(fmt.Sprintf("kubetest: %T is not an API object", o))
	}
	var resource string
	switch o.(type) {
	case *corev1.Service:
		resource = "services"
	case *corev1.Node:
		resource = "nodes"
	case *discoveryv1.EndpointSlice:
		resource = "endpointslices"
	}
	for _, k := range kinds {
		if k.resource == resource {
			return k, m
		}
	}
	panic(fmt.Sprintf("kubetest: there are no objects of type %T", o))
}

func key(m metav1.Object) string { return m.GetNamespace() + "/" + m.GetName() }
