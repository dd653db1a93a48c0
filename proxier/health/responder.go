package health

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// Responder runs the HTTP servers of one family. Its methods can be called from any goroutine.
// The zero value is not usable; see New.
type Responder struct {
	family  ipproto.Family
	healthy func() bool

	mu       sync.Mutex
	closed   bool
	services map[model.ServiceName]*service
	servers  map[endpoint]server
	serving  sync.WaitGroup
}

// New returns a Responder for one family that serves nothing yet. It asks healthy at each request whether the
// rules of this node are up to date; nil means that they always are.
func New(family ipproto.Family, healthy func() bool) *Responder {
	if healthy == nil {
		healthy = func() bool { return true }
	}
	return &Responder{
		family:   family,
		healthy:  healthy,
		services: map[model.ServiceName]*service{},
		servers:  map[endpoint]server{},
	}
}

// Update makes the servers match the given Services. Call it after each successful sync, and only then: what
// is answered must describe the rules in the kernel.
//
// addrs are the node's addresses to listen on; those of the other family are ignored. Nil means all addresses
// of the family; an empty list that is not nil means none.
//
// First the servers of vanished Services, ports and addresses are closed, connections included, then new ones
// are opened. Each that cannot be opened is a *ListenError in the joined result. The others work, and the next
// Update tries again: an IPv6 address cannot be used in its first seconds, for example.
func (r *Responder) Update(addrs []netip.Addr, services []Service) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("update health-check servers: they are closed")
	}
	wanted := r.wanted(addrs, services)
	r.count(services)
	r.shut(func(e endpoint) bool { return !wanted[e] })

	var errs []error
	for _, e := range sorted(wanted) {
		if _, open := r.servers[e]; open {
			continue
		}
		if err := r.open(e); err != nil {
			errs = append(errs, &ListenError{Service: e.service, On: e.on, Err: err})
		}
	}
	return errors.Join(errs...)
}

// Close closes all servers and their connections and waits until none runs any more.
func (r *Responder) Close() error {
	r.mu.Lock()
	r.closed = true
	r.shut(func(endpoint) bool { return true })
	r.mu.Unlock()
	r.serving.Wait()
	return nil
}

// wanted returns the listeners that there should be.
func (r *Responder) wanted(addrs []netip.Addr, services []Service) map[endpoint]bool {
	if addrs == nil {
		addrs = []netip.Addr{r.family.All().Addr()}
	}
	wanted := map[endpoint]bool{}
	for _, s := range services {
		for _, a := range addrs {
			if s.Port != 0 && ipproto.FamilyOf(a) == r.family {
				wanted[endpoint{s.Name, netip.AddrPortFrom(a.Unmap(), s.Port)}] = true
			}
		}
	}
	return wanted
}

// count sets what is answered for each Service. A Service that is no longer there has no endpoints: a request
// that its closing server still has in hand gets a 503.
func (r *Responder) count(services []Service) {
	gone := r.services
	r.services = make(map[model.ServiceName]*service, len(services))
	for _, s := range services {
		if s.Port == 0 {
			continue
		}
		known := gone[s.Name]
		if known == nil {
			known = &service{name: s.Name, healthy: r.healthy}
		}
		known.ready.Store(int64(s.LocalReady))
		r.services[s.Name] = known
		delete(gone, s.Name)
	}
	for _, s := range gone {
		s.ready.Store(0)
	}
}

// shut closes servers, together with their connections.
func (r *Responder) shut(which func(endpoint) bool) {
	for e, s := range r.servers {
		if which(e) {
			s.close()
			delete(r.servers, e)
		}
	}
}

// sorted orders by Service, so that of two new ones with the same port the same one wins on every node.
func sorted(set map[endpoint]bool) []endpoint {
	list := make([]endpoint, 0, len(set))
	for e := range set {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b endpoint) int {
		return cmp.Or(a.service.Compare(b.service), a.on.Compare(b.on))
	})
	return list
}
