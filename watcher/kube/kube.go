package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"espalier/proxier/model"
	"espalier/watcher"
)

// Config says what to bring from where to where.
type Config struct {
	// REST says how to reach the API server; see ClientConfig.
	REST *rest.Config
	// NodeName is the name of the own Node, which decides which endpoints are local.
	NodeName string
	Tracker  *watcher.Tracker
	// Report is called when the problems of an object change, with all problems that it has now; none means
	// that it has none any more, or is gone. The object is "Service shop/web". Calls do not overlap, and must
	// not block. Report may be nil.
	Report func(object string, problems []model.Problem)
}

// Run keeps the Tracker equal to the API server until ctx ends; then it returns nil. It returns an error only if
// the configuration cannot be used. Everything else is logged, once for each change of state, and repeated with
// growing delays, while the Tracker keeps what it has.
//
// It calls SetSynced when all Services and slices were delivered, and the Node, if it appears in time.
func Run(ctx context.Context, c Config) error {
	return run(ctx, c, defaultPace())
}

func run(ctx context.Context, c Config, pace wait.Backoff) error {
	if c.NodeName == "" {
		return errors.New("watch the API server: the name of the own Node is not known")
	}
	f, err := newFeed(c, klog.FromContext(ctx))
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	for _, r := range f.resources {
		running.Go(func() { r.follow(ctx, pace) })
	}
	if f.initial.wait(ctx, f.node.missed) == nil {
		c.Tracker.SetSynced()
	}
	running.Wait()
	return nil
}

// Snapshot brings the present state of the API server into the Tracker, calls SetSynced and returns. Unlike Run
// it returns the first error. The Node need not exist, and is not looked for if NodeName is empty.
func Snapshot(ctx context.Context, c Config) error {
	f, err := newFeed(c, klog.Logger{}) // the caller hears of errors, not the log
	if err != nil {
		return err
	}
	for _, r := range f.resources {
		err := r.read(ctx, func(obj runtime.Object) error { return r.sink.Add(obj) })
		if err != nil {
			return fmt.Errorf("read the cluster: %w", err)
		}
	}
	if c.NodeName != "" {
		f.node.missed()
	}
	c.Tracker.SetSynced()
	return nil
}

// feed is everything between the API server and the Tracker.
type feed struct {
	resources []resource
	node      *node
	initial   initial
}

func newFeed(c Config, logger klog.Logger) (*feed, error) {
	api, err := newClients(c.REST)
	if err != nil {
		return nil, err
	}
	reports := newReports(c.Report)
	f := &feed{
		initial: initial{services: newSignal(), slices: newSignal(), node: newSignal(), usable: newSignal()},
	}
	f.node = &node{name: c.NodeName, tracker: c.Tracker, reports: reports, logger: logger, usable: f.initial.usable}

	f.resources = append(f.resources, serviceSink(c).into(services(api), reports, logger, f.initial.services))
	f.resources = append(f.resources, sliceSink(c).into(endpointSlices(api), reports, logger, f.initial.slices))
	if c.NodeName != "" {
		f.resources = append(f.resources, nodeSink(f.node).into(ownNode(api, c.NodeName), reports, logger, f.initial.node))
	}
	return f, nil
}

// into makes the sink that of a resource.
func (s *sink[K, V]) into(r resource, reports *reports, logger klog.Logger, listed signal) resource {
	r.link = &link{resource: r.name, logger: logger}
	s.link, s.reports, s.listed = r.link, reports, listed.give
	r.sink = s
	return r
}
