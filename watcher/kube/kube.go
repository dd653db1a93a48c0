package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"espalier/proxier/model"
	"espalier/watcher"
	"espalier/watcher/convert"
)

// Config says what to bring from where to where.
type Config struct {
	// REST says how to reach the API server; see ClientConfig.
	REST *rest.Config
	// NodeName is the name of the own Node, which decides which endpoints are local.
	NodeName string
	Tracker  *watcher.Tracker
	// NeedPodCIDRs: rules depend on the Node's spec.podCIDRs, so that they are awaited, and must not change.
	NeedPodCIDRs bool
	// Ready is called once, when it is known what the Node object says, or that it says nothing in time, and before
	// any state becomes visible. Its error ends Run. It may be nil.
	Ready func(convert.NodeFacts) error
	// Report is called when the problems of an object change, with all problems that it has now; none means
	// that it has none any more, or is gone. The object is "Service shop/web". Calls do not overlap, and must
	// not block. Report may be nil.
	Report func(object string, problems []model.Problem)
}

// Run keeps the Tracker equal to the API server until ctx ends; then it returns nil. It returns an error only if
// the configuration cannot be used, if the Node lacks what is needed of it, or if it is no longer the node that
// everything was set up for: it was deleted, its addresses changed, or pod ranges that are needed. Everything else
// is logged, once for each change of state, and repeated with growing delays, while the Tracker keeps what it has.
//
// It calls SetSynced when all Services and slices were delivered, and the Node, if it appears in time.
func Run(ctx context.Context, c Config) error {
	return run(ctx, c, tempo{pace: defaultPace(), address: addressGrace, ranges: rangeGrace})
}

// tempo is how patient it is: between attempts, and with a Node that lacks something.
type tempo struct {
	pace            wait.Backoff
	address, ranges time.Duration
}

func run(ctx context.Context, c Config, t tempo) error {
	if c.NodeName == "" {
		return errors.New("watch the API server: the name of the own Node is not known")
	}
	f, err := newFeed(c, klog.FromContext(ctx))
	if err != nil {
		return err
	}
	f.initial.addressGrace, f.initial.rangeGrace = t.address, t.ranges
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	for _, r := range f.resources {
		running.Go(func() { r.follow(ctx, t.pace) })
	}
	err = f.serve(ctx, c)
	stop()
	running.Wait()
	return err
}

// serve makes the state visible when it is complete, and returns when ctx ends, which is no error, or when this is
// not the node any more that everything was set up for.
func (f *feed) serve(ctx context.Context, c Config) error {
	err := f.initial.wait(ctx, c.NeedPodCIDRs, f.node.addressless)
	switch {
	case errors.Is(err, errNoRanges):
		return f.node.rangeless()
	case err != nil:
		return nil
	}
	facts := f.node.settle()
	if c.Ready != nil {
		if err := c.Ready(facts); err != nil {
			return err
		}
	}
	c.Tracker.SetSynced()
	select {
	case err := <-f.node.ended:
		return fmt.Errorf("%w: this process was set up for the node as it was; started again, it takes over the rules as they are", err)
	case <-ctx.Done():
		return nil
	}
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
		f.node.addressless()
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
		initial: initial{services: newSignal(), slices: newSignal(), node: newSignal(), usable: newSignal(), ranged: newSignal()},
	}
	f.node = &node{
		name: c.NodeName, needRanges: c.NeedPodCIDRs, tracker: c.Tracker, reports: reports, logger: logger,
		usable: f.initial.usable, ranged: f.initial.ranged, ended: make(chan error, 1),
	}

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
