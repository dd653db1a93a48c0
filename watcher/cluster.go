package watcher

import (
	"maps"
	"slices"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// cluster is the state of one family. The Tracker's lock guards it.
type cluster struct {
	family   ipproto.Family
	node     model.Node
	services map[model.ServiceName]*model.Service
	// slices has those of Services that do not exist, too: they may arrive first, and slices of Services that
	// another proxy serves always come.
	// Lists, as nearly every Service has one slice or two.
	slices map[model.ServiceName][]*model.Slice

	// entries is the table of Services as of the last snapshot or step. Once it has been handed out, as shared
	// says, it is replaced and no longer changed.
	entries map[model.ServiceName]model.Entry
	shared  bool
	// stale names the Services whose entry is out of date; true: their slices changed, too.
	stale map[model.ServiceName]bool

	// version counts the changes. synced says that they are worth a wake-up.
	version uint64
	synced  bool
	views   []*View
}

func newCluster(f ipproto.Family) cluster {
	return cluster{
		family:   f,
		services: map[model.ServiceName]*model.Service{},
		slices:   map[model.ServiceName][]*model.Slice{},
		entries:  map[model.ServiceName]model.Entry{},
		stale:    map[model.ServiceName]bool{},
	}
}

// start makes the state visible to the views.
func (c *cluster) start(now time.Time) {
	c.synced = true
	c.changed(now)
}

// changed counts a change that the next snapshot will show, and wakes the readers up.
func (c *cluster) changed(now time.Time) {
	c.version++
	if !c.synced {
		return
	}
	for _, v := range c.views {
		v.wake(now)
	}
}

// setService stores a Service, or forgets it if s is nil.
func (c *cluster) setService(name model.ServiceName, s *model.Service, now time.Time) {
	old := c.services[name]
	if old.Equal(s) {
		return
	}
	if s == nil {
		delete(c.services, name)
	} else {
		c.services[name] = s
	}
	for _, v := range c.views {
		v.pending.Services++
	}
	// Slices that change while there is no Service are not noted, so merge again when it appears.
	c.stale[name] = c.stale[name] || old == nil || s == nil
	c.changed(now)
}

// setSlice stores a slice in place of old, which is nil or a slice of the same Service.
func (c *cluster) setSlice(old, s *model.Slice, now time.Time) {
	list := c.slices[s.Service]
	if i := slices.Index(list, old); i >= 0 {
		list[i] = s
	} else {
		c.slices[s.Service] = append(list, s)
	}
	c.slicesChanged(s.Service, now)
}

// triggered notes when the change of a slice happened that setSlice is about to store.
func (c *cluster) triggered(name model.ServiceName, at time.Time) {
	if c.services[name] == nil {
		return
	}
	for _, v := range c.views {
		if list := v.triggers[name]; len(list) < maxTriggers {
			v.triggers[name] = append(list, at)
		}
	}
}

// deleteSlice forgets a slice. What happened to the Service's endpoints before is not measured any more: nobody can
// tell which of it is still to be seen.
func (c *cluster) deleteSlice(s *model.Slice, now time.Time) {
	for _, v := range c.views {
		delete(v.triggers, s.Service)
	}
	list := c.slices[s.Service]
	if i := slices.Index(list, s); len(list) > 1 {
		c.slices[s.Service] = slices.Delete(list, i, i+1)
	} else {
		delete(c.slices, s.Service)
	}
	c.slicesChanged(s.Service, now)
}

// slicesChanged notes that the endpoints of a Service may have changed. That matters to nobody as long as the
// Service does not exist.
func (c *cluster) slicesChanged(name model.ServiceName, now time.Time) {
	if c.services[name] == nil {
		return
	}
	c.stale[name] = true
	for _, v := range c.views {
		v.pending.Slices++
	}
	c.changed(now)
}

// publish brings entries up to date and tells the views which Services changed.
func (c *cluster) publish() {
	for name := range c.stale {
		old, existed := c.entries[name]
		entry, exists := c.entry(name, old)
		if exists == existed && sameEntry(entry, old) {
			continue // changed and changed back, or an endpoint moved from slice to slice
		}
		if c.shared {
			// The only thing that makes a change cost more in a larger cluster, 3 ms for 30,000 Services; readers
			// that go step by step never get here.
			c.entries, c.shared = maps.Clone(c.entries), false
		}
		if exists {
			c.entries[name] = entry
		} else {
			delete(c.entries, name)
		}
		for _, v := range c.views {
			v.names[name] = struct{}{}
		}
	}
	c.stale = emptied(c.stale)
}

// emptied returns a map without entries. A map never shrinks, and to walk one takes as long as when it was full: the
// one that held a whole cluster is not kept for its changes.
func emptied[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > 100 {
		return map[K]V{}
	}
	clear(m)
	return m
}

// entry computes what belongs into the table for a stale Service, out of the parts of the old entry where they
// are equal. It returns false if there is no such Service.
func (c *cluster) entry(name model.ServiceName, old model.Entry) (model.Entry, bool) {
	service := c.services[name]
	if service == nil {
		return model.Entry{}, false
	}
	entry := model.Entry{Service: service, Backends: old.Backends}
	if old.Service.Equal(service) {
		entry.Service = old.Service
	}
	if c.stale[name] {
		if merged := model.Merge(slices.Values(c.slices[name])); !equalBackends(merged, old.Backends) {
			entry.Backends = merged
		}
	}
	return entry, true
}
