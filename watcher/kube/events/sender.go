package events

import (
	"context"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"
)

// sender is what one Run knows. One goroutine uses it.
type sender struct {
	*Recorder
	ctx     context.Context // until it ends, there is time for retries
	sending context.Context // of requests; lives a little longer
	series  map[Event]*series
	logger  klog.Logger
	mute    mute
	serial  int64 // of the last event: its time in nanoseconds, or one more than that of the event before
}

// series is an event that may repeat.
type series struct {
	namespace, name string
	count           int32
	last            time.Time
	// told is the count that the API server knows, since when toldAt.
	told   int32
	toldAt time.Time
}

// maxSeries limits what is remembered. What does not fit is an event of its own each time.
const maxSeries = 4096

// record sends a new event, or notes a repeat. The first repeat is told at once, later ones now and then.
func (s *sender) record(o occurrence) {
	if n := s.dropped.Swap(0); n > 0 {
		s.logger.Info("Events were dropped, as too many were waiting to be sent", "events", n)
	}
	known := s.series[o.key()]
	if known == nil || o.at.Sub(known.last) >= quiet {
		s.create(o)
		return
	}
	known.count++
	known.last = o.at
	if known.told == 1 || o.at.Sub(known.toldAt) >= heartbeat {
		s.tell(o.key(), known)
	}
}

func (s *sender) create(o occurrence) {
	s.serial = max(o.at.UnixNano(), s.serial+1)
	object := o.object(o.at, s.serial, s.instance)
	delete(s.series, o.key())
	if wrong := validation.IsDNS1123Label(object.Namespace); len(wrong) > 0 {
		s.logger.V(2).Info("An event is lost: its object is in a namespace that cannot be", "namespace", object.Namespace, "because", wrong)
		return
	}
	err := s.insist(func(ctx context.Context) error { return s.sink.create(ctx, object) })
	if err == nil && len(s.series) < maxSeries {
		s.series[o.key()] = &series{
			namespace: object.Namespace, name: object.Name, count: 1, last: o.at, told: 1, toldAt: o.at,
		}
	}
	s.mute.result(s.logger, "create", err)
}

// tell brings the count of a series to the API server. A series that is gone there, since events are kept for an
// hour or so, begins anew.
func (s *sender) tell(key Event, known *series) {
	err := s.insist(func(ctx context.Context) error {
		return s.sink.patch(ctx, known.namespace, known.name, known.count, known.last)
	})
	if apierrors.IsNotFound(err) {
		s.create(occurrence{key, known.last})
		return
	}
	known.told, known.toldAt = known.count, known.last // if it was refused, it will be again
	s.mute.result(s.logger, "patch", err)
}

// review ends the series that have been quiet.
func (s *sender) review(now time.Time) {
	for key, known := range s.series {
		if now.Sub(known.last) < quiet {
			continue
		}
		if known.count > known.told {
			s.tell(key, known)
		}
		delete(s.series, key)
	}
}

// insist sends until the API server has taken it or refused it.
func (s *sender) insist(send func(context.Context) error) (err error) {
	pause := rand.N(retryEvery)
	for range tries {
		last := s.ctx.Err() != nil
		if err = send(s.sending); err == nil || final(err) || last {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.ctx.Done(): // once more, at once
			timer.Stop()
		}
		pause = retryEvery
	}
	return err
}
