package conntrack

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Run cleans until ctx ends.
func (c *Cleaner) Run(ctx context.Context) {
	retry, echo := stopped(), stopped()
	failures := 0
	var earliest time.Time // before this, nothing is cleaned
	for {
		select {
		case <-ctx.Done():
			return
		case <-echo.C:
			c.silence()
		case <-c.wake:
			failures, earliest = c.attempt(ctx, retry, failures, earliest)
		case <-retry.C:
			failures, earliest = c.attempt(ctx, retry, failures, earliest)
		}
		if due, some := c.echoes.next(); some {
			echo.Reset(time.Until(due))
		}
	}
}

func stopped() *time.Timer {
	t := time.NewTimer(0)
	t.Stop()
	return t
}

// attempt cleans what is dirty, or sets the timer to try again. It takes and returns the number of failures in a row,
// and before when nothing is cleaned: after a run, there is none for as long as that took, so that a large table that
// changes all the time takes half a processor at most.
func (c *Cleaner) attempt(ctx context.Context, retry *time.Timer, failures int, earliest time.Time) (int, time.Time) {
	select {
	case <-ctx.Done():
		return failures, earliest
	case <-time.After(time.Until(earliest)):
	}
	retry.Stop()
	started := time.Now()
	err := c.run(ctx)
	earliest = time.Now().Add(time.Since(started))
	if err == nil {
		return 0, earliest
	}
	if !hopeless(err) {
		retry.Reset(min(time.Second<<min(failures, 10), longestRetry))
	}
	return failures + 1, earliest
}

// longestRetry is the longest time between attempts to clean what could not be cleaned.
const longestRetry = time.Minute

// hopeless reports whether an error will not pass by itself.
func hopeless(err error) bool { return errors.Is(err, ErrPrivilege) || errors.Is(err, ErrUnsupported) }

// run cleans all that is dirty.
func (c *Cleaner) run(ctx context.Context) error {
	started := time.Now()
	work, open, err := c.take()
	var tally Tally
	if err == nil {
		if work.Empty() {
			c.finish(nil)
			return nil
		}
		tally, err = c.sweep(ctx, work, open)
	}
	c.finish(err)
	if ctx.Err() != nil {
		return err
	}
	if c.config.Report != nil {
		c.config.Report(Report{
			Family: c.config.Family, Frontends: work.Frontends(), Tally: tally, Took: time.Since(started), Err: err,
		})
	}
	return err
}

// take takes what there is to clean, and says where node ports answer, if that matters.
func (c *Cleaner) take() (work Work, open Addresses, err error) {
	c.mu.Lock()
	work = c.book.Take()
	moved, nodePorts := c.moved, c.nodePorts
	c.moved = false
	c.mu.Unlock()
	if !moved && !work.HasNodePorts() || nodePorts == nil {
		return work, open, nil
	}
	if open, err = nodePorts(); err != nil {
		return work, open, fmt.Errorf("clean conntrack of %s: %w", c.config.Family, err)
	}
	c.left = c.left.and(c.open).without(open)
	c.open = open
	if len(c.left.list) > 0 {
		c.mu.Lock()
		work.left = &departure{c.left, c.book.nodePorts()}
		c.mu.Unlock()
	}
	return work, open, nil
}

func (c *Cleaner) sweep(ctx context.Context, work Work, open Addresses) (Tally, error) {
	table, err := c.config.Open(c.config.Family)
	if err != nil {
		return Tally{}, err
	}
	defer table.Close()
	tally, err := table.Sweep(ctx, c.last, func(f Flow) bool {
		at, stale := work.Stale(f, open)
		stale = stale && !c.changed(at)
		if stale {
			c.echoes.add(f, at)
		}
		if stale && c.config.Stale != nil {
			c.config.Stale(f)
		}
		return stale
	})
	if err == nil {
		c.last = tally
	}
	return tally, err
}

// changed reports whether a frontend is no more what it was when it was taken.
func (c *Cleaner) changed(f frontend) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book.Changed(f)
}

func (c *Cleaner) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.left = Addresses{}
		c.book.Done()
	case hopeless(err):
		c.left = Addresses{}
		c.book.Forget()
	default:
		c.moved = true // it has to be found out again where they answer
		c.book.Return()
	}
}

// silence deletes the echoes that are due, of frontends that are still served.
func (c *Cleaner) silence() {
	due := c.echoes.take(func(at frontend) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.book.Serves(at)
	})
	if len(due) == 0 {
		return
	}
	table, err := c.config.Open(c.config.Family)
	if err != nil {
		return // a run will say so
	}
	defer table.Close()
	_ = table.Delete(due)
}
