package conntrack

import (
	"net/netip"
	"slices"

	"espalier/proxier/model"
)

// Book remembers the UDP frontends that the kernel serves, and which of them have to be cleaned. It is not safe for
// concurrent use. Its zero value is an empty book.
type Book struct {
	// NoExternalIPs: the rules ignore spec.externalIPs. Do not change it later.
	NoExternalIPs bool

	services map[model.ServiceName]model.Entry // those with a UDP port
	claims   map[frontend][]model.ServiceName  // who is behind a frontend: more than one if Services collide
	dirty    map[frontend]set                  // to be cleaned, with the endpoints that it had
	doubtful map[frontend]set                  // as dirty, but the kernel may not have these rules
	cleaning map[frontend]set                  // what was taken
	forgot   bool                              // there may be more to clean than what is dirty
}

// Note says what the kernel serves now. If whole, these are all Services; else those that changed, of which one
// without a Service is gone.
func (b *Book) Note(services map[model.ServiceName]model.Entry, whole bool) {
	for name, e := range services {
		b.note(name, e)
	}
	if whole {
		for name := range b.services {
			if _, there := services[name]; !there {
				b.note(name, model.Entry{})
			}
		}
	}
	for f, had := range b.doubtful {
		b.mark(f, had)
	}
	b.doubtful = nil
}

func (b *Book) note(name model.ServiceName, e model.Entry) {
	old, known := b.services[name]
	after := fronts(e.Service, b.NoExternalIPs)
	if !known && after == nil {
		return
	}
	before := fronts(old.Service, b.NoExternalIPs)
	if after == nil {
		delete(b.services, name)
	} else {
		put(&b.services, name, e)
	}
	for _, f := range before {
		key, still := find(after, f.frontend)
		if !still {
			b.release(f.frontend, name)
		}
		how := compare(old.Backends[f.key], e.Backends[key])
		if _, busy := b.cleaning[f.frontend]; !still || how == other || how == more && busy {
			b.mark(f.frontend, everyone(old.Backends[f.key]))
		}
	}
	for _, f := range after {
		if _, already := find(before, f.frontend); !already {
			b.claim(f.frontend, name)
			b.mark(f.frontend, nil)
		}
	}
}

// Doubt says that these Services were to be served, and that it is not known how far that came. The next Note has
// the frontends cleaned of what may have been served meanwhile.
func (b *Book) Doubt(services map[model.ServiceName]model.Entry) {
	for name, e := range services {
		old := fronts(b.services[name].Service, b.NoExternalIPs)
		for _, f := range fronts(e.Service, b.NoExternalIPs) {
			key, had := find(old, f.frontend)
			if had && compare(b.services[name].Backends[key], e.Backends[f.key]) == same {
				continue
			}
			join(&b.doubtful, f.frontend, everyone(e.Backends[f.key]))
		}
	}
}

// Found says to which endpoints the kernel sent what came to its frontends before anything is known to be served. The
// next Note has those of them cleaned that are gone.
func (b *Book) Found(rules map[frontend][]netip.AddrPort) {
	for f, endpoints := range rules {
		had := make(set, len(endpoints))
		for _, e := range endpoints {
			had[e] = struct{}{}
		}
		join(&b.doubtful, f, had)
	}
}

// All marks every frontend to be cleaned.
func (b *Book) All() {
	for f := range b.claims {
		b.mark(f, nil)
	}
	b.forgot = false
}

// Dirty reports whether there is something to take.
func (b *Book) Dirty() bool { return len(b.dirty) > 0 || b.forgot && len(b.claims) > 0 }

// Take returns what there is to clean, and calls it being cleaned until Done or Return.
func (b *Book) Take() Work {
	if b.forgot {
		b.All()
	}
	b.cleaning, b.dirty = b.dirty, nil
	w := Work{addresses: map[frontend]target{}, nodePorts: map[uint16]target{}}
	for f, had := range b.cleaning {
		if t := b.target(f, had); f.Addr().IsValid() {
			w.addresses[f] = t
		} else {
			w.nodePorts[f.Port()] = t
		}
	}
	return w
}

// target says which flows to a frontend are stale.
func (b *Book) target(f frontend, had set) target {
	claims := b.claims[f]
	if len(claims) == 0 {
		return target{gone: true, endpoints: had.lookup()}
	}
	keep := set{}
	for _, name := range claims {
		e := b.services[name]
		for _, one := range fronts(e.Service, b.NoExternalIPs) {
			if one.frontend != f {
				continue
			}
			keep.add(keepers(e.Backends[one.key]))
		}
	}
	return target{endpoints: keep.lookup()}
}

// Changed reports whether a frontend has changed since it was taken. Its flows are then left to the next time: what
// was stale when it was taken may not be any more.
func (b *Book) Changed(f frontend) bool {
	_, changed := b.dirty[f]
	return changed
}

// Serves reports whether there is a Service at a frontend.
func (b *Book) Serves(f frontend) bool { return len(b.claims[f]) > 0 }

// nodePorts returns all endpoints behind each node port that is served.
func (b *Book) nodePorts() map[uint16]lookup {
	all := map[uint16]lookup{}
	for f, names := range b.claims {
		if f.Addr().IsValid() {
			continue
		}
		ends := set{}
		for _, name := range names {
			e := b.services[name]
			if key, ok := find(fronts(e.Service, b.NoExternalIPs), f); ok {
				ends.add(everyone(e.Backends[key]))
			}
		}
		all[f.Port()] = ends.lookup()
	}
	return all
}

// Done says that what was taken is clean.
func (b *Book) Done() { b.cleaning = nil }

// Return says that what was taken could not be cleaned, so it still has to be.
func (b *Book) Return() {
	for f, had := range b.cleaning {
		b.mark(f, had)
	}
	b.cleaning = nil
}

// Forget says that nothing can be cleaned, nor be in the near future: there is no use in remembering what should be.
// If it can be later, the next Take has every frontend that is served then.
func (b *Book) Forget() { b.cleaning, b.dirty, b.doubtful, b.forgot = nil, nil, nil, true }

// mark says that a frontend has to be cleaned, and which endpoints it had.
func (b *Book) mark(f frontend, had set) { join(&b.dirty, f, had) }

func (b *Book) claim(f frontend, name model.ServiceName) {
	if !slices.Contains(b.claims[f], name) { // two ports with the same number, which only a broken API server has
		put(&b.claims, f, append(slices.Clip(b.claims[f]), name))
	}
}

func (b *Book) release(f frontend, name model.ServiceName) {
	rest := slices.DeleteFunc(slices.Clone(b.claims[f]), func(n model.ServiceName) bool { return n == name })
	if len(rest) == 0 {
		delete(b.claims, f)
	} else {
		b.claims[f] = rest
	}
}

// everyone returns all endpoints: rules may have sent flows to each of them at some time.
func everyone(all []model.Endpoint) set {
	s := make(set, len(all))
	for _, e := range all {
		s[e.Addr] = struct{}{}
	}
	return s
}

// join adds endpoints to those of a frontend.
func join(all *map[frontend]set, f frontend, more set) {
	have, there := (*all)[f]
	switch {
	case !there || len(have) == 0:
		put(all, f, more)
	case len(more) > 0:
		have.add(more) // the sets are nobody else's
	}
}

func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}
