package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"espalier/proxier/health"
	"espalier/proxier/nfacct"
	"espalier/proxier/plan"
	"espalier/proxier/serve"
	"espalier/proxier/status"
	"espalier/watcher"
)

// servers are the flags that say where the process answers over HTTP. Names and meaning are kube-proxy's.
type servers struct {
	healthz, metrics string // IP:port; empty: not served
	hardFail         bool
	profiling        bool
	perService       bool
	// config is what /configz prints; nil: nothing.
	config func() any
}

func (s *servers) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.healthz, "healthz-bind-address", "0.0.0.0:10256",
		"Where to answer probes at /healthz and /livez: IP:port.")
	fs.StringVar(&s.metrics, "metrics-bind-address", "127.0.0.1:10249",
		"Where to show metrics, at /metrics, and the status, at /statusz: IP:port.")
	fs.BoolVar(&s.hardFail, "bind-address-hard-fail", false,
		"End if one of these addresses cannot be had, instead of trying again and again.")
	fs.BoolVar(&s.profiling, "profiling", false,
		"Serve profiles at /debug/pprof/, and let the verbosity be changed at /debug/flags/v, beside the metrics.")
	fs.BoolVar(&s.perService, "service-metrics", false,
		"Show, for each Service, what its rules have counted: connections, and bytes of their first packets. Each scrape reads all rules.")
}

func (s *servers) validate() error {
	var errs []error
	for flag, text := range map[string]string{"--healthz-bind-address": s.healthz, "--metrics-bind-address": s.metrics} {
		if a, err := netip.ParseAddrPort(text); text != "" && (err != nil || a.Port() == 0) {
			errs = append(errs, fmt.Errorf("%s: %q is not an IP address with a port, like 0.0.0.0:10256", flag, text))
		}
	}
	return errors.Join(errs...)
}

// shown is everything that the process shows over HTTP.
type shown struct {
	state   *health.State
	status  *status.Status
	servers []serve.Server
	counts  counts
}

// show prepares the servers.
func (r *run) show(tracker *watcher.Tracker, report *reporter, flags *pflag.FlagSet) *shown {
	shown := &shown{state: health.NewState(2 * r.syncPeriod)}
	facts := status.Facts{
		Version: version, Node: r.source.hostname,
		Health: shown.state.Families,
		Events: func() (uint64, uint64) {
			e := tracker.Events()
			return e.Services, e.Slices
		},
		Problems: report.all,
		Counters: acctPackets,
	}
	if r.servers.perService {
		facts.Services = shown.counts.of
	}
	s := status.New(facts)
	s.WatchClient()
	probes := health.Probes{State: shown.state, Eligible: tracker.Eligible, Answered: s.Answered}
	given := values(flags)
	pages := status.Pages{
		Mode: "iptables", Config: r.servers.config, Flags: func() map[string]string { return given },
		Profiling: r.servers.profiling, SetVerbosity: new(klog.Level).Set,
	}
	shown.status = s
	shown.servers = []serve.Server{
		{Name: "probes", Address: r.servers.healthz, HardFail: r.servers.hardFail, Handler: probes.Handler()},
		{Name: "metrics", Address: r.servers.metrics, HardFail: r.servers.hardFail, Handler: s.Handler(pages)},
	}
	return shown
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

// values returns the flags with their values.
func values(flags *pflag.FlagSet) map[string]string {
	all := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) { all[f.Name] = f.Value.String() })
	return all
}
