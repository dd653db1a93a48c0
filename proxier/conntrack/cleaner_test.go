package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// cleaner runs a Cleaner on a node.
type cleaner struct {
	*Cleaner
	reports chan Report
}

// start runs a Cleaner until the test ends.
func (n node) start(t *testing.T, c Config) cleaner {
	t.Helper()
	reports := make(chan Report, 100)
	c.Report = func(r Report) { reports <- r }
	if c.Open == nil {
		c.Open = n.open
	}
	k := cleaner{New(c), reports}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return k
}

// next returns the next report.
func (c cleaner) next(t *testing.T) Report {
	t.Helper()
	select {
	case r := <-c.reports:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was cleaned within 10 s")
		return Report{}
	}
}

// settled waits until a run is over that began after all that was said before, and returns all reports until then.
func (c cleaner) settled(t *testing.T) []Report {
	t.Helper()
	c.Synced(Sync{Services: cluster(service("ns/last", "10.111.0.1", 999)), NodePorts: nowhere})
	var all []Report
	for {
		r := c.next(t)
		all = append(all, r)
		c.mu.Lock()
		over := !c.book.Dirty()
		c.mu.Unlock()
		if over || r.Err != nil {
			return all
		}
	}
}

func nowhere() (Addresses, error) { return Addresses{}, nil }

// TestTable sends the rows of TestStale through a real table, each with a twin of TCP and one of SCTP.
func TestTable(t *testing.T) {
	for _, f := range ipproto.Families {
		at := places[f.String()]
		for _, state := range states {
			t.Run(f.String()+"/"+state, func(t *testing.T) {
				n := newNode(t)
				c := n.start(t, Config{Family: f})
				open := func() (Addresses, error) { return nodeAddresses(at), nil }
				var made, want []entry
				for i, r := range rows(state) {
					e := r.flow(i, at)
					tcp, sctp := e, e
					tcp.proto, sctp.proto = ipproto.TCP, ipproto.SCTP
					made = append(made, e, tcp, sctp)
					want = append(want, tcp, sctp)
					if !r.stale {
						want = append(want, e)
					}
				}
				ends := state != "without endpoints"
				c.Synced(Sync{Whole: true, Services: cluster(full(at, ends)), NodePorts: open})
				c.next(t)
				n.insert(t, made...)
				if state == "gone" {
					c.Synced(Sync{Services: gone("ns/everything"), NodePorts: open})
				} else {
					c.Synced(Sync{Whole: true, Services: cluster(full(at, ends)), NodePorts: open, Repaired: true})
				}
				r := c.next(t)
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				if diff := cmp.Diff(texts(want), n.entries(t, f)); diff != "" {
					t.Errorf("left in the table (-want +got):\n%s", diff)
				}
				if r.Deleted != len(made)-len(want) || r.Frontends != 4 || r.Looked == 0 || r.Took == 0 {
					t.Errorf("report %+v, want %d deleted for 4 frontends", r, len(made)-len(want))
				}
			})
		}
	}
}

const (
	endA = "10.244.0.1:53"
	endB = "10.244.0.2:53"
	vipC = "10.96.0.10:53"
)

func dnsWith(endpoints ...string) map[model.ServiceName]model.Entry {
	return cluster(service("ns/dns", "10.96.0.10", 53, to(endpoints...)))
}

// TestWhatHasPiledUpIsCleanedAtOnce: any number of changes are one reading of the table.
func TestWhatHasPiledUpIsCleanedAtOnce(t *testing.T) {
	n := newNode(t)
	n.insert(t, flow(1, vipC, endA), flow(2, "10.96.0.11:53", endA))
	free, opened := make(chan struct{}), atomic.Int32{}
	c := n.start(t, Config{Family: ipproto.IPv4, Open: func(f ipproto.Family) (*Table, error) {
		if opened.Add(1) == 1 {
			<-free
		}
		return n.open(f)
	}})
	c.Synced(Sync{Services: cluster(service("ns/first", "10.96.0.77", 53))})
	for opened.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	// The first run is under way. None of these waits for it.
	for range 100 {
		c.Synced(Sync{Services: dnsWith(endA)})
		c.Synced(Sync{Services: dnsWith(endB)})
	}
	c.Synced(Sync{Services: cluster(service("ns/other", "10.96.0.11", 53, to(endB)))})
	close(free)
	if r := c.next(t); r.Frontends != 1 || r.Deleted != 0 {
		t.Errorf("first report %+v, want one frontend", r)
	}
	if r := c.next(t); r.Frontends != 2 || r.Deleted != 2 {
		t.Errorf("second report %+v, want two frontends and two entries", r)
	}
	if left := n.entries(t, ipproto.IPv4); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if len(c.reports) > 0 || opened.Load() != 2 {
		t.Errorf("cleaned %d times, want 2", opened.Load())
	}
}

// TestAnEndpointThatComesWhileItIsCleanedKeepsItsFlows: they are newer than what the run knows.
func TestAnEndpointThatComesWhileItIsCleanedKeepsItsFlows(t *testing.T) {
	n := newNode(t)
	var c cleaner
	first := true
	c = n.start(t, Config{Family: ipproto.IPv4, Open: func(f ipproto.Family) (*Table, error) {
		if first {
			first = false
			c.Synced(Sync{Services: dnsWith(endA, endB)})
			n.insert(t, flow(1, vipC, endB), flow(2, vipC, "10.244.0.3:53"))
		}
		return n.open(f)
	}})
	c.Synced(Sync{Services: dnsWith(endA)})
	if r := c.next(t); r.Deleted != 0 {
		t.Errorf("first report %+v, want nothing deleted", r)
	}
	if r := c.next(t); r.Deleted != 1 {
		t.Errorf("second report %+v, want the entry of the unknown endpoint deleted", r)
	}
	if diff := cmp.Diff(texts([]entry{flow(1, vipC, endB)}), n.entries(t, ipproto.IPv4)); diff != "" {
		t.Errorf("left in the table (-want +got):\n%s", diff)
	}
}

// TestAFailedSyncCleansNothing until one has succeeded; then its changes are cleaned too.
func TestAFailedSyncCleansNothing(t *testing.T) {
	n := newNode(t)
	c := n.start(t, Config{Family: ipproto.IPv4})
	c.Synced(Sync{Whole: true, Services: dnsWith(endA)})
	c.next(t)
	n.insert(t, flow(1, vipC, endA))
	c.Synced(Sync{Failed: true, Services: dnsWith(endB)})
	for _, r := range c.settled(t) { // a run for another Service
		if r.Deleted != 0 {
			t.Errorf("deleted %d entries while the rules are the old ones", r.Deleted)
		}
	}
	all := dnsWith(endB)
	c.Synced(Sync{Whole: true, Services: all})
	if r := c.next(t); r.Deleted != 1 {
		t.Errorf("report %+v, want the entry deleted once the rules are in the kernel", r)
	}
}

// TestAFailureIsTriedAgain, with what came since.
func TestAFailureIsTriedAgain(t *testing.T) {
	n := newNode(t)
	n.insert(t, flow(1, vipC, endA))
	broken := errors.New("out of sockets")
	var failed atomic.Int32
	c := n.start(t, Config{Family: ipproto.IPv4, Open: func(f ipproto.Family) (*Table, error) {
		if failed.Add(1) == 1 {
			return nil, broken
		}
		return n.open(f)
	}})
	c.Synced(Sync{Services: dnsWith(endB)})
	if r := c.next(t); !errors.Is(r.Err, broken) {
		t.Fatalf("report %+v, want the error", r)
	}
	if r := c.next(t); r.Err != nil || r.Deleted != 1 {
		t.Errorf("report %+v, want the entry deleted", r)
	}
}

// TestRetries: attempts become rarer, and those that are hopeless wait for the next change.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want []time.Duration
	}{
		{"of a failure that may pass", errors.New("busy"), []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183}},
		{"of one for lack of privilege", ErrPrivilege, []time.Duration{0, 150}},
		{"of one for lack of a module", ErrUnsupported, []time.Duration{0, 150}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var attempts []time.Duration
				c := New(Config{Family: ipproto.IPv4, Open: func(ipproto.Family) (*Table, error) {
					attempts = append(attempts, time.Since(start)/time.Second)
					return nil, tt.err
				}})
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Second)
				defer cancel()
				c.Synced(Sync{Services: dnsWith(endA)})
				if hopeless(tt.err) {
					time.AfterFunc(150*time.Second, func() { c.Synced(Sync{Services: dnsWith(endB)}) })
				}
				c.Run(ctx)
				if !slices.Equal(attempts, tt.want) {
					t.Errorf("attempts after %d s, want %d", attempts, tt.want)
				}
			})
		})
	}
}

// TestARunIsFollowedByARestAsLongAsItself, however much is to be done.
func TestARunIsFollowedByARestAsLongAsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var began []time.Duration
		var c *Cleaner
		c = New(Config{Family: ipproto.IPv4, Open: func(ipproto.Family) (*Table, error) {
			began = append(began, time.Since(start)/time.Second)
			c.Synced(Sync{Services: dnsWith(endA)})
			c.Synced(Sync{Services: dnsWith(endB)})
			time.Sleep(10 * time.Second)
			return nil, ErrPrivilege // what it was is of no account here
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		c.Synced(Sync{Services: dnsWith(endA)})
		c.Run(ctx)
		if want := []time.Duration{0, 20, 40}; !slices.Equal(began, want) {
			t.Errorf("runs of 10 s began after %d s, want %d", began, want)
		}
	})
}

// TestWhereNodePortsAnswerIsAskedOnlyForNodePorts, and an error of that is one of the run.
func TestWhereNodePortsAnswerIsAskedOnlyForNodePorts(t *testing.T) {
	n := newNode(t)
	c := n.start(t, Config{Family: ipproto.IPv4})
	broken := errors.New("no addresses today")
	asked := func() (Addresses, error) { return Addresses{}, broken }
	c.Synced(Sync{Services: dnsWith(endA), NodePorts: asked})
	if r := c.next(t); r.Err != nil {
		t.Errorf("without a node port: %v", r.Err)
	}
	c.Synced(Sync{Services: cluster(service("ns/node", "10.96.0.11", 53, nodePort(30053))), NodePorts: asked})
	if r := c.next(t); !errors.Is(r.Err, broken) {
		t.Errorf("with a node port: error %v, want %v", r.Err, broken)
	}
}

// TestStaleIsToldOfEveryFlow that is deleted, and of no other.
func TestStaleIsToldOfEveryFlow(t *testing.T) {
	n := newNode(t)
	n.insert(t, flow(1, vipC, endA), flow(2, vipC, endB))
	var told []netip.AddrPort
	c := n.start(t, Config{Family: ipproto.IPv4, Stale: func(f Flow) { told = append(told, f.ReplySrc) }})
	c.Synced(Sync{Services: dnsWith(endB)})
	c.next(t)
	if want := []netip.AddrPort{netip.MustParseAddrPort(endA)}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}

// TestAnAnswerOnItsWay: what answered at the address before there was a Service, has its answer turn around the
// connection while that is deleted. The client must not be stuck with it.
func TestAnAnswerOnItsWay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		served bool
	}{{"to a client of a Service", true}, {"to a client of something that is no Service any more", false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			question := flow(1, vipC, vipC)
			n.insert(t, question)
			c := n.start(t, Config{Family: ipproto.IPv4})
			c.Synced(Sync{Services: dnsWith(endA)})
			if r := c.next(t); r.Deleted != 1 {
				t.Fatalf("report %+v, want one entry deleted", r)
			}
			answer := entry{proto: ipproto.UDP, src: question.dst, dst: question.src, replySrc: question.src}
			n.insert(t, answer)
			if !tt.served {
				c.Synced(Sync{Services: gone("ns/dns")})
				c.next(t)
			}
			end := time.Now().Add(10 * time.Second)
			if !tt.served { // nothing will happen
				end = time.Now().Add(2 * echoDelay)
			}
			for len(n.entries(t, ipproto.IPv4)) > 0 && time.Now().Before(end) {
				time.Sleep(10 * time.Millisecond)
			}
			if left := len(n.entries(t, ipproto.IPv4)); left != 0 == tt.served {
				t.Errorf("%d entries are left", left)
			}
		})
	}
}

// TestWhatCouldNotBeCleanedForLackOfPrivilege is cleaned with the next change after it can be.
func TestWhatCouldNotBeCleanedForLackOfPrivilege(t *testing.T) {
	n := newNode(t)
	n.insert(t, flow(1, vipC, endA))
	var opened atomic.Int32
	c := n.start(t, Config{Family: ipproto.IPv4, Open: func(f ipproto.Family) (*Table, error) {
		if opened.Add(1) <= 2 {
			return nil, ErrPrivilege
		}
		return n.open(f)
	}})
	other := func(port uint16) map[model.ServiceName]model.Entry {
		return cluster(service("ns/other", "10.96.0.11", port))
	}
	for _, services := range []map[model.ServiceName]model.Entry{dnsWith(endB), other(1)} {
		c.Synced(Sync{Services: services})
		if r := c.next(t); !errors.Is(r.Err, ErrPrivilege) {
			t.Fatalf("report %+v, want the error", r)
		}
	}
	c.Synced(Sync{Services: other(2)})
	if r := c.next(t); r.Err != nil || r.Deleted != 1 {
		t.Errorf("report %+v, want the entry deleted", r)
	}
}

// TestAddressesThatTheNodeLoses: flows to node ports on them go, and no others; also if that has to be tried again.
func TestAddressesThatTheNodeLoses(t *testing.T) {
	const end, other = "10.244.0.1:53", "10.244.0.9:53"
	kept, lost := netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("192.168.0.2")
	n := newNode(t)
	var broken atomic.Bool
	c := n.start(t, Config{Family: ipproto.IPv4, Open: func(f ipproto.Family) (*Table, error) {
		if broken.CompareAndSwap(true, false) {
			return nil, errors.New("no sockets left")
		}
		return n.open(f)
	}})
	var addrs atomic.Pointer[[]netip.Addr]
	addrs.Store(&[]netip.Addr{kept, lost})
	open := func() (Addresses, error) { return NewAddresses(*addrs.Load(), false), nil }
	c.Synced(Sync{Whole: true, NodePorts: open, Services: cluster(service("ns/dns", "10.96.0.10", 53, to(end), nodePort(30053)))})
	c.next(t)
	own := flow(1, "192.168.0.2:30053", "192.168.0.2:30053") // of a process of the node
	stay := []entry{
		flow(2, "192.168.0.1:30053", end), own, flow(3, "192.168.0.2:30053", other), flow(4, "192.168.0.2:30054", end),
		flow(5, "192.168.0.3:30053", end),
	}
	n.insert(t, append(stay, flow(6, "192.168.0.2:30053", end))...)

	c.Moved() // nothing is lost: no run
	addrs.Store(&[]netip.Addr{kept})
	broken.Store(true)
	c.Moved()
	r := c.next(t)
	if r.Err == nil {
		t.Error("no error, but there was no socket")
	}
	if r = c.next(t); r.Err != nil || r.Deleted != 1 {
		t.Errorf("error %v, %d deleted; want one", r.Err, r.Deleted)
	}
	if diff := cmp.Diff(texts(stay), n.entries(t, ipproto.IPv4)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	addrs.Store(&[]netip.Addr{kept, lost})
	n.insert(t, flow(7, "192.168.0.2:30053", end))
	c.Moved() // it is back
	c.Synced(Sync{NodePorts: open, Services: cluster(service("ns/next", "10.96.0.11", 53))})
	c.next(t)
	if diff := cmp.Diff(texts(append(stay, flow(7, "192.168.0.2:30053", end))), n.entries(t, ipproto.IPv4)); diff != "" {
		t.Errorf("entries, when it is back (-want +got):\n%s", diff)
	}
}
