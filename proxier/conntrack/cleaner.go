package conntrack

import (
	"net/netip"
	"sync"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// Cleaner keeps the conntrack table of one family clean. Make it with New, tell it of every sync, and Run it.
type Cleaner struct {
	config Config
	wake   chan struct{} // one token: there may be work

	// Of the goroutine of Run alone:
	echoes echoes
	last   Tally
	open   Addresses // where node ports answered when that was last asked
	left   Addresses // where they answered before, and flows may still go

	mu        sync.Mutex
	began     bool // there was a sync
	moved     bool // open may have changed
	book      Book
	nodePorts func() (Addresses, error) // where they answer
}

// Config is what a Cleaner needs.
type Config struct {
	Family ipproto.Family
	// Open opens the table, for each run. Nil: Open of this package.
	Open func(ipproto.Family) (*Table, error)
	// Report, if set, is called after every run, by the goroutine of Run.
	Report func(Report)
	// Stale, if set, is called for every flow that will be deleted.
	Stale func(Flow)
}

// Report says what one run did.
type Report struct {
	Family ipproto.Family
	// Frontends is how many were cleaned.
	Frontends int
	Tally
	Took time.Duration
	// Err is why not all stale entries are gone, as far as is known. It will be tried again, unless it is ErrPrivilege
	// or ErrUnsupported: then with the next change.
	Err error
}

// Sync is what a Cleaner has to know of a sync of the rules.
type Sync struct {
	// Failed: it is not known which of the rules are in the kernel.
	Failed bool
	// Whole: Services are all that there are. Else they are those that changed; one without a Service is gone.
	Whole    bool
	Services map[model.ServiceName]model.Entry
	// Found is what rules did that stood in the kernel before the first sync: the endpoints of each frontend, of which a
	// node port has the zero Addr. What has gone since, while nobody looked, is cleaned as what goes later.
	Found map[netip.AddrPort][]netip.AddrPort
	// Repaired: before this sync the kernel may have had other rules than was known, as it is at the start and
	// after somebody else wrote, so every frontend is to be cleaned.
	Repaired bool
	// NoExternalIPs: the rules ignore spec.externalIPs. Only the first sync is asked.
	NoExternalIPs bool
	// NodePorts says where node ports answer, when it is called.
	NodePorts func() (Addresses, error)
}

// New returns a Cleaner that knows of nothing.
func New(c Config) *Cleaner {
	if c.Open == nil {
		c.Open = Open
	}
	return &Cleaner{config: c, wake: make(chan struct{}, 1)}
}

// Synced takes note of a sync, and returns at once. Call it after every sync, in order. What a failed one was to do
// is cleaned after the next that succeeds.
func (c *Cleaner) Synced(s Sync) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.book.Found(s.Found)
	if s.Failed {
		c.book.Doubt(s.Services)
		return
	}
	if !c.began {
		c.began, c.book.NoExternalIPs = true, s.NoExternalIPs
	}
	c.nodePorts = s.NodePorts
	c.book.Note(s.Services, s.Whole)
	if s.Repaired {
		c.book.All()
	}
	if c.book.Dirty() {
		c.signal()
	}
}

// Moved says that the node may have other addresses than before. Flows to node ports on one that it has lost are
// cleaned.
func (c *Cleaner) Moved() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved = true
	if c.began {
		c.signal()
	}
}

// signal wakes Run.
func (c *Cleaner) signal() {
	select {
	case c.wake <- struct{}{}:
	default: // it is awake already
	}
}
