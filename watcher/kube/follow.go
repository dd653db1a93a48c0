package kube

import (
	"context"
	"errors"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// calm is how long nothing must fail until the delays start small again.
const calm = 2 * time.Minute

// defaultPace returns client-go's delays between attempts: 0.8 s, doubling up to 30 s, plus up to as much again
// by chance, so that a restarted API server does not meet all nodes at once.
func defaultPace() wait.Backoff {
	const first, last = 800 * time.Millisecond, 30 * time.Second
	return wait.Backoff{Duration: first, Cap: last, Steps: int(math.Ceil(float64(last) / float64(first))), Factor: 2, Jitter: 1}
}

// follow keeps the sink equal to what the server has, until ctx ends. After an error it begins again with a
// new list or stream, which the sink compares with what it had.
func (r resource) follow(ctx context.Context, pace wait.Backoff) {
	requests := &cache.ListWatch{ListWithContextFunc: r.list, WatchFuncWithContext: r.watch}
	reflector := cache.NewReflectorWithOptions(requests, r.object, r.sink, cache.ReflectorOptions{
		Name: "watcher/kube", TypeDescription: r.name, Backoff: &pace, Clock: clockUntil{ctx: ctx},
	})
	delay := pace.DelayWithReset(clock.RealClock{}, calm)
	_ = delay.Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		var known *requestError
		if err := reflector.ListAndWatchWithContext(ctx); err != nil && !errors.As(err, &known) {
			// The requests went well, but the answer cannot be understood.
			r.link.broke(ctx, "", err)
		}
		return false, nil
	}) // returns the error of ctx, and nothing else
}

// clockUntil is the real clock until ctx ends; then nobody waits for it any more. A reflector that wants to
// stream sleeps up to a minute between attempts at a server that refuses connections, and looks at nothing
// but the clock meanwhile. SIGTERM should not take that long.
type clockUntil struct {
	clock.RealClock
	ctx context.Context
}

// After returns a channel that gets the time after d, or when ctx ends.
func (c clockUntil) After(d time.Duration) <-chan time.Time {
	ch := make(chan time.Time, 1)
	wait, cancel := context.WithTimeout(c.ctx, d)
	context.AfterFunc(wait, func() {
		cancel()
		ch <- time.Now()
	})
	return ch
}
