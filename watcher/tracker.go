package watcher

import (
	"sync"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// Tracker holds the current state of the cluster for both families. Its methods can be called from any
// goroutine. The zero value is not usable; see New.
type Tracker struct {
	mu       sync.Mutex
	synced   bool
	slices   map[model.SliceName]*model.Slice // of both families
	ipv4     cluster
	ipv6     cluster
	eligible bool
	events   Events
	created  time.Time
}

// Events counts what a source has reported, changes or not.
type Events struct {
	Services, Slices uint64
}

// New returns a Tracker of an empty cluster, which waits for SetSynced.
func New() *Tracker {
	return &Tracker{
		slices:  map[model.SliceName]*model.Slice{},
		ipv4:    newCluster(ipproto.IPv4),
		ipv6:    newCluster(ipproto.IPv6),
		created: time.Now(),
	}
}

// State is a whole cluster, as a source reports it that always knows everything at once.
type State struct {
	// Services has at most one value per family for each name.
	Services map[model.ServiceName][]*model.Service
	Slices   map[model.SliceName]*model.Slice
	// Nodes is the own node as each family sees it.
	Nodes map[ipproto.Family]model.Node
	// Eligible: see Tracker.SetEligible.
	Eligible bool
}

// SetService stores the Service as the given families see it. A family that is not among them loses the
// Service; its slices stay, in case it comes back.
func (t *Tracker) SetService(name model.ServiceName, perFamily ...*model.Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setService(name, perFamily, time.Now())
}

// DeleteService forgets the Service in both families. Deleting what is not there does nothing.
func (t *Tracker) DeleteService(name model.ServiceName) {
	t.SetService(name)
}

// SetSlice stores an EndpointSlice in place of the one with the same name, even if that one belonged to
// another Service or family, which then lose its endpoints.
func (t *Tracker) SetSlice(s *model.Slice) { t.SetSliceSince(s, time.Time{}) }

// SetSliceSince is SetSlice for a slice of which it is known when that happened in the cluster because of which it was
// written; zero: it is not. If the slice changed, and that happened after the Tracker was made, it is told in the next
// Stamp. It is not kept.
func (t *Tracker) SetSliceSince(s *model.Slice, trigger time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setSlice(s, trigger, time.Now())
}

// DeleteSlice forgets an EndpointSlice. Deleting what is not there does nothing.
func (t *Tracker) DeleteSlice(name model.SliceName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events.Slices++
	t.deleteSlice(name, time.Now())
}

// SetNode stores the own node as family f sees it.
func (t *Tracker) SetNode(f ipproto.Family, n model.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setNode(f, n, time.Now())
}

// SetEligible says whether load balancers may send new connections to this node: its object is known, and nobody is
// about to remove it. No rule depends on that, so it is no part of the Node that readers see, and wakes nobody up.
func (t *Tracker) SetEligible(eligible bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.eligible = eligible
}

// Eligible returns what SetEligible said last; at first it is false.
func (t *Tracker) Eligible() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.eligible
}

// Events returns how much the source has reported.
func (t *Tracker) Events() Events {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.events
}

// Replace makes the state of the cluster equal to s in one step: no snapshot shows a mixture. Parts that are
// equal to what was there keep their identity and wake nobody up. A family that is not in s.Nodes keeps its
// node, as not every source knows the node.
func (t *Tracker) Replace(s State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.eligible = s.Eligible
	for f, n := range s.Nodes {
		t.setNode(f, n, now)
	}
	for _, c := range t.clusters() {
		for name := range c.services { // deleting from the map of a range is safe
			if _, ok := s.Services[name]; !ok {
				t.setService(name, nil, now)
			}
		}
	}
	for name, perFamily := range s.Services {
		t.setService(name, perFamily, now)
	}
	for name := range t.slices {
		if _, ok := s.Slices[name]; !ok {
			t.events.Slices++
			t.deleteSlice(name, now)
		}
	}
	for _, slice := range s.Slices {
		t.setSlice(slice, time.Time{}, now)
	}
}

// SetSynced says that the source has delivered the initial state completely. Before, no View has a snapshot:
// rules for Services whose slices are still to come would refuse their connections.
func (t *Tracker) SetSynced() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.synced {
		return
	}
	t.synced = true
	now := time.Now()
	for _, c := range t.clusters() {
		c.start(now)
	}
}

// View returns a new view of one family, for one reader. Views live as long as the Tracker.
func (t *Tracker) View(f ipproto.Family) *View {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.cluster(f)
	v := &View{
		tracker: t, cluster: c, changed: make(chan struct{}, 1), all: true,
		names: map[model.ServiceName]struct{}{}, triggers: map[model.ServiceName][]time.Time{},
	}
	c.views = append(c.views, v)
	if t.synced {
		v.wake(time.Now())
	}
	return v
}

// cluster returns what the Tracker knows of one family. There is none for an unknown family: that is a bug of
// the caller, who would wait for ever.
func (t *Tracker) cluster(f ipproto.Family) *cluster {
	switch f {
	case ipproto.IPv4:
		return &t.ipv4
	case ipproto.IPv6:
		return &t.ipv6
	}
	panic("watcher: unknown IP family")
}

func (t *Tracker) clusters() [2]*cluster { return [...]*cluster{&t.ipv4, &t.ipv6} }

func (t *Tracker) setService(name model.ServiceName, perFamily []*model.Service, now time.Time) {
	t.events.Services++
	for _, c := range t.clusters() {
		var service *model.Service
		for _, s := range perFamily {
			if s != nil && ipproto.FamilyOf(s.ClusterIP) == c.family {
				service = s
			}
		}
		c.setService(name, service, now)
	}
}

func (t *Tracker) setSlice(s *model.Slice, trigger, now time.Time) {
	t.events.Slices++
	old := t.slices[s.Name]
	if equalSlice(old, s) {
		return
	}
	if old != nil && (old.Family != s.Family || old.Service != s.Service) {
		t.deleteSlice(s.Name, now)
		old = nil
	}
	t.slices[s.Name] = s
	if trigger.After(t.created) {
		t.cluster(s.Family).triggered(s.Service, trigger)
	}
	t.cluster(s.Family).setSlice(old, s, now)
}

func (t *Tracker) deleteSlice(name model.SliceName, now time.Time) {
	if old := t.slices[name]; old != nil {
		delete(t.slices, name)
		t.cluster(old.Family).deleteSlice(old, now)
	}
}

func (t *Tracker) setNode(f ipproto.Family, n model.Node, now time.Time) {
	if c := t.cluster(f); !equalNode(c.node, n) {
		c.node = n
		c.changed(now)
	}
}
