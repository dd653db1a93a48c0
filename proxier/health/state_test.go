package health

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
)

const limit = time.Minute

var errSync = errors.New("line 7 refused")

// node is a family of which changes arrive and are taken, as the Tracker and a syncer do it.
type node struct {
	*Progress
	state   *State
	arrived time.Time
}

func newNode() *node {
	n := &node{state: NewState(limit)}
	n.Progress = n.state.Start(ipproto.IPv4, func() time.Time { return n.arrived })
	return n
}

func (n *node) change() {
	if n.arrived.IsZero() {
		n.arrived = time.Now()
	}
}

func (n *node) begin() {
	n.Take(func() (time.Time, bool) {
		since := n.arrived
		n.arrived = time.Time{}
		return since, true
	})
}

func (n *node) sync(err error) {
	n.begin()
	n.Done(err)
}

func TestHealthy(t *testing.T) {
	for _, test := range []struct {
		name  string
		story func(n *node)
		want  bool
	}{
		{"a new process", func(*node) {}, true},
		{"nothing to do for hours", func(n *node) { n.sync(nil); time.Sleep(5 * time.Hour) }, true},
		{"a change that waits", func(n *node) { n.change(); time.Sleep(limit - 1) }, true},
		{"a change that waits for too long", func(n *node) { n.change(); time.Sleep(limit) }, false},
		{"a change that was late but came", func(n *node) { n.change(); time.Sleep(2 * limit); n.sync(nil) }, true},
		{"a sync that does not end", func(n *node) { n.change(); n.begin(); time.Sleep(limit) }, false},
		{"a repair that does not end", func(n *node) { n.begin(); time.Sleep(limit) }, false},
		{"a failure", func(n *node) { n.change(); n.sync(errSync); time.Sleep(limit - 1) }, true},
		{"failures for too long", func(n *node) {
			n.change()
			for range 4 {
				n.sync(errSync)
				time.Sleep(limit / 4)
			}
		}, false},
		{"failures of repairs for too long, although nothing changes", func(n *node) {
			n.sync(nil)
			for range 4 {
				n.sync(errSync)
				time.Sleep(limit / 4)
			}
		}, false},
		{"failures of changes again and again: the first one counts", func(n *node) {
			for range 4 {
				n.change()
				n.sync(errSync)
				time.Sleep(limit / 4)
			}
		}, false},
		{"a change that arrives during a good sync stays to be done", func(n *node) {
			n.change()
			n.begin()
			n.change()
			n.Done(nil)
			time.Sleep(limit)
		}, false},
		{"and is done by the next", func(n *node) {
			n.begin()
			n.change()
			n.Done(nil)
			time.Sleep(limit - 1)
			n.sync(nil)
			time.Sleep(limit)
		}, true},
		{"nothing is taken while the state is incomplete", func(n *node) {
			n.Take(func() (time.Time, bool) { return time.Time{}, false })
			time.Sleep(limit)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode()
				test.story(n)
				if got := n.state.Healthy(); got != test.want {
					t.Errorf("healthy %v, want %v: %+v", got, test.want, n.state.Families())
				}
			})
		})
	}
}

func TestFamilies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState(limit)
		if !s.Healthy() || len(s.Families()) > 0 {
			t.Error("a state without families is not healthy, or has some")
		}
		var overdue time.Time
		start := time.Now()
		four := s.Start(ipproto.IPv4, func() time.Time { return time.Time{} })
		s.Start(ipproto.IPv6, func() time.Time { return overdue })
		time.Sleep(limit)
		overdue = start
		four.Done(nil)
		want := []Family{
			{Family: ipproto.IPv4, Updated: time.Now(), Healthy: true},
			{Family: ipproto.IPv6, Updated: start, Pending: start},
		}
		if diff := cmp.Diff(want, s.Families()); diff != "" {
			t.Errorf("families (-want +got):\n%s", diff)
		}
		if s.Healthy() {
			t.Error("one overdue family leaves the node healthy")
		}
	})
}
