package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

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
	source        source
	data          dataPlane
	servers       servers
	backend       string
	minSyncPeriod time.Duration
	syncPeriod    time.Duration
}

func runCommand() *cobra.Command {
	var r run
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep this node's rules in step with a cluster or with files",
		Long: `Keep the iptables rules of this node in step with the Services of a cluster, or of YAML files that are watched.

Rules of kube-proxy's iptables mode are replaced in place. SIGTERM ends the process and leaves the rules: traffic
goes on, and the next process finds them and changes only what differs. "espalier cleanup" removes them.`,
		Example: `  # Serve a cluster, as kube-proxy does
  espalier run --kubeconfig /var/lib/kube-proxy/kubeconfig.conf --cluster-cidr 10.244.0.0/16

  # Serve the Services of a directory of manifests, and follow its changes
  espalier run --manifests /etc/espalier/manifests`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd.Context(), cmd.Flags()) },
	}
	r.source.addFlags(cmd.Flags())
	r.data.addFlags(cmd.Flags())
	r.servers.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&r.backend, "iptables-backend", "auto",
		"Which iptables to program: nft, legacy or auto (the one that the kubelet and the rules of this node use).")
	cmd.Flags().DurationVar(&r.minSyncPeriod, "iptables-min-sync-period", 0,
		"The least time between two writes. 0: at once.")
	cmd.Flags().DurationVar(&r.syncPeriod, "iptables-sync-period", 30*time.Second,
		"The longest time between two attempts to write what could not be written.")
	return cmd
}

func (r *run) validate() error {
	var errs []error
	errs = append(errs, r.source.validate(), r.data.validate(), r.servers.validate())
	if r.minSyncPeriod < 0 || r.minSyncPeriod > time.Hour {
		errs = append(errs, fmt.Errorf("--iptables-min-sync-period: %s is not between 0 and 1h", r.minSyncPeriod))
	}
	if r.syncPeriod <= 0 || r.syncPeriod < r.minSyncPeriod {
		errs = append(errs, fmt.Errorf("--iptables-sync-period: %s must be above 0 and not below --iptables-min-sync-period", r.syncPeriod))
	}
	if r.source.manifests == "-" {
		errs = append(errs, errors.New("--manifests: standard input cannot be watched; give a file or a directory, or use dump"))
	}
	return errors.Join(errs...)
}

// run runs until ctx ends, which is not an error.
func (r *run) run(ctx context.Context, flags *pflag.FlagSet) error {
	if err := r.validate(); err != nil {
		return err
	}
	wish, err := iptables.ParseBackend(r.backend)
	if err != nil {
		return fmt.Errorf("--iptables-backend: %w", err)
	}
	tracker := watcher.New()
	report := newReporter()
	shown := r.show(tracker, report, flags)
	feed, err := r.feed(tracker, report)
	if err != nil {
		return err
	}
	backend, why, err := iptables.Detect(ctx, wish)
	if err != nil {
		return err
	}
	klog.InfoS("Starting espalier", "version", version, "node", r.source.hostname, "backend", backend, "because", why)
	flags.Visit(func(f *pflag.Flag) { klog.InfoS("Flag", "name", f.Name, "value", f.Value) })

	syncers, err := r.syncers(ctx, backend, tracker, report, shown)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return feed(ctx) })
	for _, s := range shown.servers {
		group.Go(func() error { return s.Run(ctx) })
	}
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
	if r.source.manifests != "" {
		broken := false // the callbacks do not overlap
		return func(ctx context.Context) error {
			return file.Watch(ctx, r.source.manifests, convert.Options{NodeName: r.source.hostname},
				func(result file.Result) {
					if broken {
						klog.InfoS("The manifests can be read again", "path", r.source.manifests)
						broken = false
					}
					report.notices(result.Notices)
					report.replaceProblems("manifests", result.Problems)
					tracker.Replace(result.State)
					tracker.SetSynced()
				},
				func(err error) {
					broken = true
					klog.ErrorS(err, "Cannot read the manifests; the last good ones stay in force", "path", r.source.manifests)
				})
		}, nil
	}
	config, err := kube.ClientConfig(r.source.kubeconfig, r.source.master)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return kube.Run(ctx, kube.Config{REST: config, NodeName: r.source.hostname, Tracker: tracker, Report: report.replaceProblems})
	}, nil
}

// syncers returns one for each family that the node can be programmed in. Families are independent: a
// node without one of them serves the other.
func (r *run) syncers(ctx context.Context, backend iptables.Backend, tracker *watcher.Tracker, report *reporter, shown *shown) ([]*syncer.Syncer, error) {
	var list []*syncer.Syncer
	var reasons []error
	ledgers := ledgers{backend: backend}
	for _, u := range iptables.Families(ctx, backend) {
		if u.Kernel == nil {
			reasons = append(reasons, fmt.Errorf("%s: %s", u.Family, u.Why))
			klog.InfoS("Family is not served", "family", u.Family, "because", u.Why)
			continue
		}
		s, err := r.syncer(ctx, u.Kernel, ledgers.of(u.Family), tracker, report, shown)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no IP family can be programmed with iptables-%s:\n%w", backend, errors.Join(reasons...))
	}
	return list, nil
}

func (r *run) syncer(ctx context.Context, kernel *iptables.Kernel, ledger *syncer.Ledger, tracker *watcher.Tracker, report *reporter, shown *shown) (*syncer.Syncer, error) {
	f := kernel.Family
	liberal := conntrackLiberal()
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
		responder: health.New(f, shown.state.Healthy),
	}
	progress := shown.progress(f, tracker.View(f))
	shown.counts.add(kernel)
	context.AfterFunc(ctx, func() { _ = after.responder.Close() })
	clean := cleanConntrack(ctx, f, countConntrack(shown.status))
	s := &syncer.Syncer{
		Family:   f,
		Kernel:   kernel,
		Source:   progress,
		Settings: func(n model.Node) (model.Node, plan.Config, error) { return r.data.settings(n, f, facts) },
		Refused:  refusedLine,
		Learn:    func(ctx context.Context) bool { return facts.learn(ctx, kernel) },
		Report: func(done syncer.Report) {
			report.sync(done)
			after.report(done)
			progress.report(done)
			clean(done)
		},
		MinInterval:   r.minSyncPeriod,
		RetryInterval: r.syncPeriod,
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

// routeLocalnet lets packets to and from 127.0.0.0/8 leave the loopback interface.
const routeLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet"

// setRouteLocalnet sets the sysctl that node ports on localhost need, unless it is set.
func setRouteLocalnet() error {
	if text, err := os.ReadFile(routeLocalnet); err == nil && len(text) > 0 && text[0] == '1' {
		return nil
	}
	if err := os.WriteFile(routeLocalnet, []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("set net.ipv4.conf.all.route_localnet, which node ports on 127.0.0.1 need: %w; set it on the host, or switch them off with --iptables-localhost-nodeports=false", err)
	}
	return nil
}
