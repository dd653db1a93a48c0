package main

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/spf13/pflag"
	"k8s.io/component-base/featuregate"
	"k8s.io/klog/v2"

	"espalier/cmd/espalier/config"
	"espalier/proxier/health"
	"espalier/proxier/nfacct"
	"espalier/proxier/plan"
	"espalier/proxier/serve"
	"espalier/proxier/status"
	"espalier/watcher"
)

// shown is everything that the process shows over HTTP.
type shown struct {
	state   *health.State
	status  *status.Status
	servers []serve.Server
	counts  counts
}

// show prepares the servers.
func (r *run) show(tracker *watcher.Tracker, report *reporter, flags *pflag.FlagSet) *shown {
	shown := &shown{state: health.NewState(2 * r.SyncPeriod)}
	facts := status.Facts{
		Version: kubernetesVersion(), Node: r.NodeName, Gates: gates(r.Gates),
		Health: shown.state.Families,
		Events: func() (uint64, uint64) {
			e := tracker.Events()
			return e.Services, e.Slices
		},
		Problems: report.all,
		Counters: acctPackets,
	}
	if r.Serve.ServiceMetrics {
		facts.Services = shown.counts.of
	}
	s := status.New(facts)
	s.WatchClient()
	probes := health.Probes{State: shown.state, Eligible: tracker.Eligible, Answered: s.Answered}
	pages := status.Pages{
		Mode: "iptables", Config: func() any { return config.Written(r.Kube) }, NoStatus: !r.Gates.Enabled("ComponentStatusz"),
		Profiling: r.Serve.Profiling, SetVerbosity: new(klog.Level).Set,
	}
	if r.Gates.Enabled("ComponentFlagz") {
		given := values(flags)
		pages.Flags = func() map[string]string { return given }
	}
	shown.status = s
	shown.servers = []serve.Server{
		{Name: "probes", Address: address(r.Serve.Healthz), HardFail: r.Serve.HardFail, Handler: probes.Handler()},
		{Name: "metrics", Address: address(r.Serve.Metrics), HardFail: r.Serve.HardFail, Handler: s.Handler(pages)},
	}
	return shown
}

// address is empty for nowhere.
func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// acctPackets reads the counters that rules name, as far as there are any.
func acctPackets() map[string]uint64 {
	read := map[string]uint64{}
	for _, name := range []string{plan.AcctInvalid, plan.AcctLocalhost} {
		n, err := nfacct.Packets(name)
		if err != nil {
			klog.V(4).InfoS("A counter is not shown", "because", err)
			continue
		}
		read[name] = n
	}
	return read
}

// gates returns all feature gates in order, as they were set.
func gates(all featuregate.MutableFeatureGate) (list []status.Gate) {
	specs := all.GetAll()
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		list = append(list, status.Gate{Name: string(name), Stage: string(specs[name].PreRelease), On: all.Enabled(name)})
	}
	return list
}

// values returns the flags with their values.
func values(flags *pflag.FlagSet) map[string]string {
	all := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) { all[f.Name] = f.Value.String() })
	return all
}
