package netns

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/proxier/syncer"
	"espalier/test/netns/lab"
	"espalier/watcher"
)

// session is a lab whose node is kept in sync with a cluster, by the loop that espalier runs.
type session struct {
	*lab.Lab
	kernel *iptables.Kernel // works inside the node only: see onNode
	config plan.Config
	have   ruleset.Ruleset // what the kernel had after the last sync
	drops  []ruleset.Chain // built-in chains with policy DROP

	tracker *watcher.Tracker
	changed chan struct{}
	reports chan syncer.Report
	stop    func()
}

// newSession builds the lab of the tables and starts the loop.
func newSession(t *testing.T, b iptables.Backend, f ipproto.Family) *session {
	t.Helper()
	return startSession(t, b, newLab(t, f))
}

// startSession starts the loop in a lab, which the session closes.
func startSession(t *testing.T, b iptables.Backend, l *lab.Lab) *session {
	t.Helper()
	f := l.Family
	s := &session{
		Lab: l, tracker: watcher.New(),
		changed: make(chan struct{}, 1), reports: make(chan syncer.Report),
	}
	err := s.onNode(func() (err error) {
		s.kernel, err = iptables.Open(context.Background(), f, b)
		return err
	})
	if err != nil {
		s.Lab.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	loop := syncer.Syncer{
		Family:   f,
		Kernel:   nodeKernel{s},
		Source:   source{s.tracker.View(f), s.changed},
		Settings: func(n model.Node) (model.Node, plan.Config, error) { return n, s.config, nil },
		// Nobody else writes. Without an answer the loop would look now and then, and report that.
		Foreign:       func(context.Context) (syncer.Others, error) { return syncer.Others{}, nil },
		RetryInterval: time.Hour,
		Report: func(r syncer.Report) {
			select {
			case s.reports <- r:
			case <-ctx.Done(): // a retry that nobody waits for
			}
		},
	}
	var ended sync.WaitGroup
	ended.Go(func() { _ = loop.Run(ctx) }) // it ends with ctx only, and then without an error
	s.stop = func() {
		cancel()
		ended.Wait()
	}
	return s
}

// close ends the loop and gives up the lab.
func (s *session) close() {
	s.stop()
	s.Lab.Close()
}

// onNode runs f inside the namespace of the node.
func (s *session) onNode(f func() error) error { return s.Host(lab.Node).Do(f) }

// nodeKernel is the kernel as the loop uses it, inside the namespace of the node.
type nodeKernel struct{ s *session }

func (k nodeKernel) Save(ctx context.Context, tables ...ruleset.Table) (saved ruleset.Saved, err error) {
	err = k.s.onNode(func() (err error) {
		saved, err = k.s.kernel.Save(ctx, tables...)
		return err
	})
	return saved, err
}

func (k nodeKernel) Apply(ctx context.Context, b delta.Batch) (written delta.Written, err error) {
	err = k.s.onNode(func() (err error) {
		written, err = k.s.kernel.Apply(ctx, b)
		return err
	})
	return written, err
}

// source gives the loop the tracker's view, and wakes it up also where only the configuration changed.
type source struct {
	view    *watcher.View
	changed <-chan struct{}
}

func (s source) Changed() <-chan struct{} { return s.changed }

func (s source) Step() (model.Step, time.Time, bool) {
	step, stamp, ok := s.view.Step()
	return step, stamp.Since, ok
}

func (s source) Snapshot() (model.Snapshot, time.Time) {
	snapshot, stamp, _ := s.view.Snapshot()
	return snapshot, stamp.Since
}

// sync lets the loop sync once.
func (s *session) sync(t *testing.T) {
	t.Helper()
	s.changed <- struct{}{}
	r := <-s.reports
	if refused, ok := errors.AsType[*iptables.RestoreError](r.Err); ok && lab.Rootless() && strings.Contains(refused.Stderr, "Message too long") {
		t.Skip("without root, iptables-nft may not write so many rules at once: ", r.Err)
	}
	if r.Err != nil || len(r.Problems) > 0 {
		t.Fatalf("sync: %v, problems: %v", r.Err, r.Problems)
	}
	s.have = s.saved(t)
}

// saved returns all rules that the node has.
func (s *session) saved(t *testing.T) ruleset.Ruleset {
	t.Helper()
	saved, err := nodeKernel{s}.Save(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return saved.Rules
}
