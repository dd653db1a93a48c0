package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// Loaded is what flags or a file ask for, completed with defaults, but not checked. Logging can be set up from it, so
// that the check is heard.
type Loaded struct {
	flags *Flags
	kube  v1alpha1.KubeProxyConfiguration
	// clusterCIDRs is kube.ClusterCIDR; nil: nobody gave any, which is not the same as an empty one.
	clusterCIDRs []string
	// minPeriodGiven says that kube.IPTables.MinSyncPeriod is not a default.
	minPeriodGiven bool
	modeDefaulted  bool
	file           File
	notes          []string
	gates          featuregate.MutableFeatureGate
}

// Load finds out what the flags, which were added to fs and are parsed, ask for, and reads the file if they name one.
func (f *Flags) Load(fs *pflag.FlagSet) (*Loaded, error) {
	l := &Loaded{flags: f}
	if f.file != "" {
		if err := l.fromFile(fs); err != nil {
			return nil, err
		}
	} else {
		l.fromFlags(fs)
	}
	l.modeDefaulted = setPlatformDefaults(&l.kube)

	// This flag wins over the file, because a DaemonSet has one file for all nodes.
	if f.hostname != "" {
		if l.kube.HostnameOverride = strings.ToLower(strings.TrimSpace(f.hostname)); l.kube.HostnameOverride == "" {
			return nil, errors.New("hostnameOverride (--hostname-override): the name is blank")
		}
	}
	var err error
	if l.gates, err = newGates(); err != nil {
		return nil, err
	}
	inert, err := setGates(l.gates, l.kube.FeatureGates)
	if err != nil {
		return nil, err
	}
	if inert = append(l.inert(fs), gateNames(inert)...); len(inert) > 0 {
		l.notes = append(l.notes, "These settings have no effect here: "+strings.Join(inert, ", "))
	}
	return l, nil
}

// Logging is how to log, and Gates what that depends on.
func (l *Loaded) Logging() *logsapi.LoggingConfiguration { return &l.kube.Logging }

// Gates are all gates, as they were set.
func (l *Loaded) Gates() featuregate.FeatureGate { return l.gates }

func (l *Loaded) fromFile(fs *pflag.FlagSet) error {
	kube, file, complaint, err := readFile(l.flags.file)
	if err != nil {
		return err
	}
	l.kube, l.file = kube, file
	if complaint != nil {
		l.notes = append(l.notes, "The configuration file has fields that are unknown or there twice, which are ignored: "+strings.Join(strings.Fields(complaint.Error()), " "))
	}
	l.minPeriodGiven = kube.IPTables.MinSyncPeriod.Duration != 0
	setDefaults(&l.kube)
	if l.kube.ClusterCIDR != "" {
		l.clusterCIDRs = strings.Split(l.kube.ClusterCIDR, ",")
	}
	logging := pflag.NewFlagSet("logging", pflag.ContinueOnError)
	if err := overlayLogging(&l.kube.Logging, fs, logging); err != nil {
		return err
	}
	// Flags of others, like --to of explain, are none of the file's business.
	ours := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	NewFlags().Add(ours)
	var ignored []string
	fs.Visit(func(flag *pflag.Flag) {
		if ours.Lookup(flag.Name) != nil && !slices.Contains(withFile, flag.Name) && logging.Lookup(flag.Name) == nil {
			ignored = append(ignored, "--"+flag.Name)
		}
	})
	if len(ignored) > 0 {
		l.notes = append(l.notes, "These flags are ignored, because --config is given: "+strings.Join(ignored, ", "))
	}
	return nil
}

func (l *Loaded) fromFlags(fs *pflag.FlagSet) {
	f := l.flags
	f.kube.DeepCopyInto(&l.kube)
	// With --write-config-to, kube-proxy leaves the addresses alone, so that one without a port does not pass its check.
	if f.writeTo == "" {
		l.kube.HealthzBindAddress = onPort(l.kube.HealthzBindAddress, f.healthzPort)
		l.kube.MetricsBindAddress = onPort(l.kube.MetricsBindAddress, f.metricsPort)
	}
	if fs.Changed("iptables-sync-period") {
		l.kube.IPTables.SyncPeriod.Duration = f.iptablesSyncPeriod
	}
	if fs.Changed("iptables-min-sync-period") {
		l.kube.IPTables.MinSyncPeriod.Duration = f.iptablesMinPeriod
		l.minPeriodGiven = true
	}
	if fs.Changed("cluster-cidr") {
		l.clusterCIDRs = strings.Split(l.kube.ClusterCIDR, ",")
	}
}

// onPort is what the deprecated flags do to an address: port 0 closes it.
func onPort(addr string, port int32) string {
	if port == 0 {
		return ""
	}
	return withPort(addr, int(port))
}

// overlayLogging lays the flags of logging that were given over what the file says. The patterns of --vmodule come
// before those of the file: the first that fits counts. scratch becomes a set of these flags.
//
// kube-proxy loses splitStream of the file on the way, as defining the flags resets it.
func overlayLogging(c *logsapi.LoggingConfiguration, given, scratch *pflag.FlagSet) error {
	before := *c
	c.VModule = nil
	logsapi.AddFlags(c, scratch)
	c.Options.Text.SplitStream, c.Options.JSON.SplitStream = before.Options.Text.SplitStream, before.Options.JSON.SplitStream
	var errs []error
	scratch.VisitAll(func(f *pflag.Flag) {
		if g := given.Lookup(f.Name); g != nil && g.Changed {
			if err := f.Value.Set(g.Value.String()); err != nil {
				errs = append(errs, fmt.Errorf("lay --%s over the configuration file: %w", f.Name, err))
			}
		}
	})
	c.VModule = append(c.VModule, before.VModule...)
	return errors.Join(errs...)
}
