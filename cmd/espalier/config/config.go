// Package config is kube-proxy's command line and configuration file, and what comes of them: one Config, with
// every value checked, that the daemon is built from.
//
// It knows the names, defaults and limits of kube-proxy 1.37's flags and fields, which of them win, and which mean
// nothing here. It reads the configuration file and asks for the host name; it touches nothing else of the node, and
// does not know how rules look.
//
// The one rule to respect: what is in a Config is checked, and is not checked again. What was written, as it was
// written, is in Config.Kube, for showing only.
//
// The types of the file are those of k8s.io/kube-proxy, the logging options and the feature gates are those of
// k8s.io/component-base. Together they cost 5.3 MB of the binary and 4.5 MB of resident memory, 1.1 MB of it heap
// (amd64, 2026-11); most of that is the Prometheus client, which component-base's feature gates bring along, and the
// metrics need too. Logging in JSON is 0.7 MB of the binary.
package config

import (
	"net/netip"
	"time"

	"k8s.io/component-base/featuregate"
	"k8s.io/kube-proxy/config/v1alpha1"

	"espalier/proxier/iptables"
	"espalier/proxier/sysctl"
)

// KubernetesVersion is the release of Kubernetes whose kube-proxy this program stands in for. It is the version of the
// module k8s.io/kube-proxy, with the major version that the project has.
const KubernetesVersion = "1.37.2"

// Config is the resolved configuration. The zero value is not one; see Flags.Load.
type Config struct {
	// Task says whether to run, or what to do instead.
	Task Task
	// WriteTo is where Task WriteConfig writes.
	WriteTo string

	// Kube is the whole configuration as kube-proxy would resolve it: what --write-config-to writes, and /configz shows.
	Kube v1alpha1.KubeProxyConfiguration
	// File is the file that it was read from; the zero value: there was none.
	File File
	// Notes are remarks for the operator, to be logged once: settings without effect, a file with unknown fields.
	Notes []string
	// Gates are all gates that kube-proxy knows, as they were set.
	Gates featuregate.MutableFeatureGate

	// NodeName is the name of the own Node object, in lower case. Empty for tasks that need none.
	NodeName string
	Source   Source
	Rules    Rules
	// Backend is the wish for one of the iptables backends.
	Backend iptables.Backend

	// MinSyncPeriod is the least time between two writes. Zero, unless the operator gave one: how often is worth
	// writing is found out by what a write costs. kube-proxy's default is one second.
	MinSyncPeriod time.Duration
	// SyncPeriod is the longest time between two attempts to write; health turns bad after twice as long.
	SyncPeriod time.Duration

	Serve     Serve
	Conntrack sysctl.Conntrack
	// OOMScoreAdj is for /proc/self/oom_score_adj, -1000 to 1000.
	OOMScoreAdj int
	// ModeDefaulted says that nobody chose a mode. kube-proxy 1.37 warns about that, because its default is to change.
	ModeDefaulted bool
}

// Task is what the command line asks for.
type Task uint8

// The tasks; where several are asked for, the first of them in this order is done.
const (
	Run Task = iota
	WriteConfig
	Cleanup
	InitOnly
)

// Source is where Services come from: manifests if there are any, else an API server.
type Source struct {
	// Kubeconfig and Master may both be empty: then this is a pod of the cluster.
	Kubeconfig, Master string
	// Manifests is a file or a directory; "-" is standard input.
	Manifests string

	// QPS (negative: no limit) and Burst are for all requests but watches.
	QPS   float32
	Burst int
	// ContentType is of requests, AcceptContentTypes of answers (empty: ContentType).
	ContentType, AcceptContentTypes string
	// Resync is how often the cluster that is already known is to be looked through again, without asking the server.
	// Nothing here needs that.
	Resync time.Duration
}

// Serve is what the process offers over HTTP.
type Serve struct {
	// Healthz and Metrics are where to listen; the zero value: nowhere. A port of an unspecified address is for both
	// families.
	Healthz, Metrics netip.AddrPort
	// HardFail: an address that cannot be bound ends the process, instead of being tried again.
	HardFail bool
	// Profiling offers /debug/pprof and /debug/flags.
	Profiling bool
	// ServiceMetrics shows what the rules of each Service have counted. Each scrape then reads all rules.
	ServiceMetrics bool
	// HiddenMetrics shows what the previous release has hidden.
	HiddenMetrics bool
}
