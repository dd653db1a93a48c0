package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"espalier/test/demo/shop"
)

// traffic is a steady stream of requests that goes on while other things happen.
type traffic struct {
	proc *process

	mu      sync.Mutex
	results []result
	news    chan struct{} // closed, and replaced, when a result comes
}

// startTraffic lets a machine ask url at a steady pace, until stop.
func startTraffic(m *machine, url string, every time.Duration) (*traffic, error) {
	cmd, err := m.again("ask", "--count", "0", "--every", every.String(), url)
	if err != nil {
		return nil, err
	}
	t := &traffic{news: make(chan struct{})}
	t.proc, err = spawn("traffic", cmd, func(line []byte) { t.add(parseResult(line)) })
	return t, err
}

func (t *traffic) add(res result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results = append(t.results, res)
	close(t.news)
	t.news = make(chan struct{})
}

// since returns the results from number n on, and the channel that closes when another one comes.
func (t *traffic) since(n int) ([]result, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.results[n:len(t.results):len(t.results)], t.news
}

// count returns how many results there are, as the n for a later since.
func (t *traffic) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.results)
}

// patience bounds every wait for something that should take well under a second.
const patience = 10 * time.Second

// await returns the first result from number n on that is as wished.
func (t *traffic) await(ctx context.Context, n int, what string, wished func(result) bool) (result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s: not seen in the traffic of %s", what, patience))
	defer cancel()
	for {
		results, news := t.since(n)
		for _, res := range results {
			if wished(res) {
				return res, nil
			}
		}
		n += len(results)
		select {
		case <-news:
		case <-t.proc.ended:
			return result{}, fmt.Errorf("%s: the traffic ended%s", what, because(t.proc.err))
		case <-ctx.Done():
			return result{}, context.Cause(ctx)
		}
	}
}

// flow waits until some more requests have been sent and answered.
func (t *traffic) flow(ctx context.Context, requests int) error {
	start, now := t.count(), time.Now()
	for range requests {
		if _, err := t.await(ctx, start, "the next request", func(res result) bool { return res.At.After(now) }); err != nil {
			return err
		}
		start++
	}
	return nil
}

// stop sends no more requests, waits for those under way, and returns all results.
func (t *traffic) stop() ([]result, error) {
	err := t.proc.terminate(2 * shop.CallTimeout)
	results, _ := t.since(0)
	return results, err
}
