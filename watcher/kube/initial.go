package kube

import (
	"context"
	"errors"
	"sync"
	"time"
)

// How long the start waits, once the API server has answered about the own Node, for what the object has to say
// (kubernetes: pkg/proxy/node.go): the kubelet registers it at about our start, and a cloud's controller adds the
// addresses later.
const (
	// addressGrace is for the Node to exist and to have an address. Without one, it goes on.
	addressGrace = 30 * time.Second
	// rangeGrace, after that, is for spec.podCIDRs, where rules depend on them. Without, it cannot go on.
	rangeGrace = 5 * time.Minute
)

// errNoRanges says that rangeGrace is over.
var errNoRanges = errors.New("no pod ranges in time")

// signal is something that happens once.
type signal struct {
	once *sync.Once
	ch   chan struct{}
}

func newSignal() signal { return signal{once: &sync.Once{}, ch: make(chan struct{})} }

// give says that it happened. Further calls do nothing.
func (s signal) give() { s.once.Do(func() { close(s.ch) }) }

// within waits for the signal until ctx ends, which is an error, or until the time is over, which is false. A signal
// that was given has precedence over a time that is over. A negative time is never over.
func (s signal) within(ctx context.Context, d time.Duration) (bool, error) {
	select {
	case <-s.ch:
		return true, nil
	default:
	}
	var over <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-s.ch:
		return true, nil
	case <-over:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// initial is what has to arrive before the Tracker is worth looking at.
type initial struct {
	services, slices signal // were delivered, all of them
	node             signal // the answer about the Node arrived, whatever it was
	usable           signal // the Node has an address
	ranged           signal // the Node has pod ranges
	// How long to wait for what the Node has.
	addressGrace, rangeGrace time.Duration
}

// wait returns nil when all of it arrived. For the answers of the API server it waits for ever: without them the
// kernel's old rules are better than ours. What the Node lacks it awaits for a limited time; it calls
// addressless when that for an address is over, and returns errNoRanges when that for pod ranges is, if they are needed.
func (i initial) wait(ctx context.Context, needRanges bool, addressless func()) error {
	const always = -1
	if _, err := i.node.within(ctx, always); err != nil {
		return err
	}
	switch in, err := i.usable.within(ctx, i.addressGrace); {
	case err != nil:
		return err
	case !in:
		addressless()
	}
	if needRanges {
		switch in, err := i.ranged.within(ctx, i.rangeGrace); {
		case err != nil:
			return err
		case !in:
			return errNoRanges
		}
	}
	if _, err := i.services.within(ctx, always); err != nil {
		return err
	}
	_, err := i.slices.within(ctx, always)
	return err
}
