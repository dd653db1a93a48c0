package events

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// queueSize is how many events may wait; as in client-go.
const queueSize = 1000

// Recorder sends events. A nil Recorder has nobody to send them to, and forgets them.
type Recorder struct {
	sink     sink
	instance string
	queue    chan occurrence
	dropped  atomic.Uint64
}

// occurrence is an event that happened.
type occurrence struct {
	Event
	at time.Time
}

// New returns a Recorder that reports as the kube-proxy of a host, by the API server of the config. It sends nothing
// before Run.
func New(config *rest.Config, host string) (*Recorder, error) {
	client, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("send events to API server %q: %w", config.Host, err)
	}
	return newRecorder(&api{client}, host), nil
}

func newRecorder(s sink, host string) *Recorder {
	return &Recorder{sink: s, instance: controller + "-" + host, queue: make(chan occurrence, queueSize)}
}

// Emit queues an event and returns at once. It can be called from any goroutine, also before Run.
func (r *Recorder) Emit(e Event) {
	if r == nil {
		return
	}
	select {
	case r.queue <- occurrence{e, time.Now()}:
	default:
		r.dropped.Add(1)
	}
}

// The times of sending, in which it follows client-go.
const (
	tries      = 12               // for an event to reach the API server
	retryEvery = 10 * time.Second // the first retry comes sooner, so that nodes do not try in step
	// quiet is how long after its last repeat a series ends, and heartbeat how often one that goes on is told.
	quiet     = 6 * time.Minute
	heartbeat = 30 * time.Minute
	// lastWords is how long, after the end of its context, Run tries to send what is in the queue.
	lastWords = 2 * time.Second
)

// Run sends until ctx ends, then what is queued, as far as that is possible at once, and returns nil. An event that
// was queued just before the process has to end is so not lost.
func (r *Recorder) Run(ctx context.Context) error {
	if r == nil {
		return nil
	}
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, stop) })()
	s := sender{Recorder: r, ctx: ctx, sending: sending, series: map[Event]*series{}, logger: klog.FromContext(ctx)}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case o := <-r.queue:
			s.record(o)
		case <-tick.C:
			s.review(time.Now())
		case <-ctx.Done():
			s.drain()
			return nil
		}
	}
}

// drain sends what is queued now.
func (s *sender) drain() {
	for s.sending.Err() == nil {
		select {
		case o := <-s.queue:
			s.record(o)
		default:
			return
		}
	}
}
