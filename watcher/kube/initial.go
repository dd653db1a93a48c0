package kube

import (
	"context"
	"sync"
	"time"
)

// nodeGrace is how long the start waits for the own Node to exist and to have an address, counted from the
// first answer of the API server (kubernetes: pkg/proxy/node.go).
const nodeGrace = 30 * time.Second

// signal is something that happens once.
type signal struct {
	once *sync.Once
	ch   chan struct{}
}

func newSignal() signal { return signal{once: &sync.Once{}, ch: make(chan struct{})} }

// give says that it happened. Further calls do nothing.
func (s signal) give() { s.once.Do(func() { close(s.ch) }) }

// initial is what has to arrive before the Tracker is worth looking at.
type initial struct {
	services, slices signal // were delivered, all of them
	node             signal // the answer about the Node arrived, whatever it was
	usable           signal // the Node has an address
}

// wait returns nil when all of it arrived. For the Node it waits nodeGrace at the most; then it calls missed.
// Services and slices it awaits for ever: without them the kernel's old rules are better than ours.
func (i initial) wait(ctx context.Context, missed func()) error {
	select {
	case <-i.services.ch:
	case <-i.slices.ch:
	case <-i.node.ch:
	case <-ctx.Done():
		return ctx.Err()
	}
	grace := time.NewTimer(nodeGrace)
	defer grace.Stop()
	for _, s := range []signal{i.services, i.slices} {
		select {
		case <-s.ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-i.usable.ch:
		return nil
	default: // a Node that is there has precedence over a time that is over
	}
	select {
	case <-i.usable.ch:
	case <-grace.C:
		missed()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
