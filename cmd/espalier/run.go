package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"espalier/cmd/espalier/config"
	"espalier/proxier/delta"
	"espalier/proxier/health"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/model"
	"espalier/proxier/nfacct"
	"espalier/proxier/plan"
	"espalier/proxier/syncer"
	"espalier/watcher"
	"espalier/watcher/convert"
	"espalier/watcher/file"
	"espalier/watcher/kube"
)

// run is the command that keeps the kernel in step with the source.
type run struct {
	config.Config
	data     dataPlane
	nodes    *nodeCheck
	announce *announcer
}

// run runs until ctx ends, which is not an error.
func (r *run) run(ctx context.Context, flags *pflag.FlagSet) error {
	if r.Source.Manifests == "-" {
		return errors.New("--manifests: standard input cannot be watched; give a file or a directory, or use dump")
	}
	tracker := watcher.New()
	report := newReporter()
	shown := r.show(tracker, report, flags)
	feed, err := r.feed(tracker, report)
	if err != nil {
		return err
	}
	backend, why, err := iptables.Detect(ctx, r.Backend)
	if err != nil {
		return err
	}
	klog.InfoS("Starting espalier", "version", version, "kubernetes", config.KubernetesVersion, "node", r.NodeName, "backend", backend, "because", why)
	if err := errors.Join(setConntrack(r.Config), checkRouteLocalnet(r.Config)); err != nil {
		return err
	}
	if err := machine.SetOOMScore(r.OOMScoreAdj); err != nil {
		klog.V(2).ErrorS(err, "This process is not protected from the OOM killer")
	}
	families, err := usableFamilies(ctx, backend)
	if err != nil {
		return err
	}
	r.nodes = newNodeCheck(r.Config, families)
	around := surroundings{tracker, report, shown, r.nodes, newLeftovers(ctx, families)}
	syncers, err := r.syncers(ctx, backend, families, around)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.announce.to.Run(ctx) })
	group.Go(func() error { return feed(ctx) })
	for _, s := range shown.servers {
		group.Go(func() error { return r.announce.unheard(s.Name, s.Run(ctx)) })
	}
	group.Go(func() error { return r.File.Watch(ctx) })
	group.Go(func() error { return around.nodes.wait(ctx) })
	for _, s := range syncers {
		group.Go(func() error { return s.Run(ctx) })
	}
	err = group.Wait()
	if err == nil {
		klog.InfoS("Stopping; the rules stay in place")
	}
	return err
}

// feed returns what fills the tracker.
func (r *run) feed(tracker *watcher.Tracker, report *reporter) (func(context.Context) error, error) {
	if r.Source.Manifests != "" {
		r.announce = newAnnouncer(nil, r.NodeName)
		broken := false // the callbacks do not overlap
		return func(ctx context.Context) error {
			return file.Watch(ctx, r.Source.Manifests, convert.Options{NodeName: r.NodeName},
				func(result file.Result) {
					if broken {
						klog.InfoS("The manifests can be read again", "path", r.Source.Manifests)
						broken = false
					}
					report.notices(result.Notices)
					report.replaceProblems("manifests", result.Problems)
					tracker.Replace(result.State)
					tracker.SetSynced()
				},
				func(err error) {
					broken = true
					klog.ErrorS(err, "Cannot read the manifests; the last good ones stay in force", "path", r.Source.Manifests)
				})
		}, nil
	}
	api, err := clientConfig(r.Source)
	if err != nil {
		return nil, err
	}
	recorder, err := newRecorder(api)
	if err != nil {
		return nil, err
	}
	r.announce = newAnnouncer(recorder, r.NodeName)
	return func(ctx context.Context) error {
		return kube.Run(ctx, kube.Config{
			REST: api, NodeName: r.NodeName, Tracker: tracker, Report: report.replaceProblems,
			NeedPodCIDRs: r.Rules.Local.Mode == config.NodeCIDR, Ready: r.ready,
		})
	}, nil
}

// ready takes what the Node object says, before anything is served.
func (r *run) ready(node convert.NodeFacts) error {
	if err := r.nodes.ready(node); err != nil {
		return err
	}
	r.announce.start(r.ModeDefaulted)
	return nil
}

// clientConfig says how to reach the API server, and how hard to press it.
func clientConfig(s config.Source) (*rest.Config, error) {
	c, err := kube.ClientConfig(s.Kubeconfig, s.Master)
	if err != nil {
		return nil, err
	}
	c.QPS, c.Burst = s.QPS, s.Burst
	c.ContentType, c.AcceptContentTypes = s.ContentType, s.AcceptContentTypes
	c.UserAgent = userAgent()
	return c, nil
}

// usableFamilies returns the kernels of the families that can be programmed here. Families are independent: a node
// without one of them serves the other.
func usableFamilies(ctx context.Context, backend iptables.Backend) ([]*iptables.Kernel, error) {
	var kernels []*iptables.Kernel
	var reasons []error
	for _, u := range iptables.Families(ctx, backend) {
		if u.Kernel == nil {
			reasons = append(reasons, fmt.Errorf("%s: %s", u.Family, u.Why))
			klog.InfoS("Family is not served", "family", u.Family, "because", u.Why)
			continue
		}
		kernels = append(kernels, u.Kernel)
	}
	if len(kernels) == 0 {
		return nil, fmt.Errorf("no IP family can be programmed with iptables-%s:\n%w", backend, errors.Join(reasons...))
	}
	return kernels, nil
}

// surroundings are what all syncers have to do with.
type surroundings struct {
	tracker *watcher.Tracker
	report  *reporter
	shown   *shown
	nodes   *nodeCheck
	old     *leftovers
}

// syncers returns one for each family.
func (r *run) syncers(ctx context.Context, backend iptables.Backend, kernels []*iptables.Kernel, around surroundings) ([]*syncer.Syncer, error) {
	var list []*syncer.Syncer
	ledgers := ledgers{backend: backend}
	for _, k := range kernels {
		s, err := r.syncer(ctx, k, ledgers.of(k.Family), around)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func (r *run) syncer(ctx context.Context, kernel *iptables.Kernel, ledger *syncer.Ledger, around surroundings) (*syncer.Syncer, error) {
	f := kernel.Family
	liberal := machine.ConntrackLiberal()
	counters := r.counters(f, liberal)
	can, err := kernel.Probe(ctx, counters...)
	if err != nil {
		return nil, fmt.Errorf("find out what the kernel can match: %w", err)
	}
	klog.InfoS("Programming", "kernel", kernel)
	if !can.Hairpin {
		klog.InfoS("Connections of an endpoint with itself need one rule for each endpoint", "family", f, "because", can.Why["hairpin"])
	}
	facts := kernelFacts{
		liberal: liberal, noHairpinMatch: !can.Hairpin,
		countInvalid: can.Acct[plan.AcctInvalid], countLocalhost: can.Acct[plan.AcctLocalhost],
	}
	after := aftersync{
		family:    f,
		responder: health.New(f, around.shown.state.Healthy),
		announce:  r.announce.unchecked,
	}
	progress := around.shown.progress(f, around.tracker.View(f))
	around.shown.counts.add(kernel)
	context.AfterFunc(ctx, func() { _ = after.responder.Close() })
	cleaner := cleanConntrack(ctx, f, countConntrack(around.shown.status))
	s := &syncer.Syncer{
		Family: f,
		Kernel: kernel,
		Source: progress,
		Settings: func(n model.Node) (model.Node, plan.Config, error) {
			if err := around.nodes.see(f, n); err != nil {
				return n, plan.Config{}, err
			}
			return r.data.settings(n, f, facts)
		},
		Resettle: r.addresses(ctx, f, cleaner.Moved),
		Refused:  refusedLine,
		Learn:    func(ctx context.Context) bool { return facts.learn(ctx, kernel) },
		Report: func(done syncer.Report) {
			around.report.sync(done)
			r.announce.sync(done)
			after.report(done)
			progress.report(done)
			cleaner.Synced(conntrackSync(done))
			around.old.report(done)
		},
		MinInterval:   r.MinSyncPeriod,
		RetryInterval: r.SyncPeriod,
	}
	if ledger != nil {
		s.Kernel, s.Foreign = ledger.Guard(kernel), ledger.Foreign
		learn := s.Learn
		s.Learn = func(ctx context.Context) (learned bool) {
			ledger.During(ctx, func() { learned = learn(ctx) })
			return learned
		}
	}
	return s, nil
}

// counters makes the nfacct objects that the rules of the family count with, and returns their names. Without them
// the rules do not count.
func (r *run) counters(f ipproto.Family, liberal bool) (names []string) {
	cfg, _ := r.data.config(model.Node{}, f, kernelFacts{liberal: liberal})
	if cfg.DropInvalid {
		names = append(names, plan.AcctInvalid)
	}
	if cfg.Localhost(f) {
		names = append(names, plan.AcctLocalhost)
	}
	for _, name := range names {
		if err := nfacct.Ensure(name); err != nil {
			klog.V(2).InfoS("Some packets are not counted", "because", err)
		}
	}
	return names
}

// refusedLine tells a refusal of rules from other failures, and returns the line as far as it is known.
func refusedLine(err error) (string, bool) {
	if e, ok := errors.AsType[*delta.InvalidError](err); ok {
		return "-A " + e.Chain.Name + " " + e.Text, true
	}
	if e, ok := errors.AsType[*iptables.RestoreError](err); ok && e.AboutRules() {
		return e.Text, true
	}
	return "", false
}

// interfaceAddrs returns the node's addresses of one family, sorted.
func interfaceAddrs(f ipproto.Family) ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the node's addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ipproto.FamilyOf(ip) == f {
				addrs = append(addrs, ip.Unmap())
			}
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), nil
}
