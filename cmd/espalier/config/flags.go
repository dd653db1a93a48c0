package config

import (
	"time"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// Flags is a command line. The zero value is not one; see NewFlags.
type Flags struct {
	file, writeTo     string
	cleanup, initOnly bool

	// Ours.
	manifests, backend string
	serviceMetrics     bool

	// kube is the configuration that flags make of the defaults. A file replaces it.
	kube v1alpha1.KubeProxyConfiguration

	// Flags without a field of their own.
	master, hostname                      string
	healthzPort, metricsPort              int32
	iptablesSyncPeriod, iptablesMinPeriod time.Duration
	ipvsSyncPeriod, ipvsMinPeriod         time.Duration
}

// NewFlags returns flags with kube-proxy's defaults.
func NewFlags() *Flags {
	f := &Flags{
		backend:     "auto",
		healthzPort: healthzPort, metricsPort: metricsPort,
		iptablesSyncPeriod: 30 * time.Second, iptablesMinPeriod: time.Second,
		ipvsSyncPeriod: 30 * time.Second, ipvsMinPeriod: time.Second,
	}
	setDefaults(&f.kube)
	return f
}

// withFile are the flags that are still obeyed if there is a file; the flags of logging are, too.
var withFile = []string{
	"config", "write-config-to", "cleanup", "init-only", "master", "hostname-override", "manifests", "iptables-backend", "service-metrics",
	"help", "version", // handled before all others
}

// Add adds all flags.
func (f *Flags) Add(fs *pflag.FlagSet) {
	f.AddSource(fs)
	f.AddRules(fs)
	f.addTasks(fs)
	f.addClient(fs)
	f.addServe(fs)
	f.addNode(fs)
	f.addIPVS(fs)
	fs.DurationVar(&f.iptablesMinPeriod, "iptables-min-sync-period", f.iptablesMinPeriod,
		"The least time between two writes. Given, it is kept; else it is found out from what a write costs, and a change is written at once when nothing else was.")
	fs.DurationVar(&f.iptablesSyncPeriod, "iptables-sync-period", f.iptablesSyncPeriod,
		"The longest time between two attempts to write what could not be written. Health turns bad after twice as long.")
	logsapi.AddFlags(&f.kube.Logging, fs)
}

// AddSource adds the flags that say where Services come from, and the one for the file, which may say that, too.
func (f *Flags) AddSource(fs *pflag.FlagSet) {
	fs.StringVar(&f.file, "config", "",
		"The configuration file: a KubeProxyConfiguration. With it, most other flags are ignored, as kube-proxy does; a warning names those that are.")
	fs.StringVar(&f.kube.ClientConnection.Kubeconfig, "kubeconfig", "",
		"The kubeconfig file of the cluster.")
	fs.StringVar(&f.master, "master", "",
		"The URL of the API server, in place of the one in the kubeconfig file.")
	fs.StringVar(&f.manifests, "manifests", "",
		"Take Services, EndpointSlices, Endpoints and the Node from YAML or JSON files instead of a cluster: a file, a directory, or - for standard input.")
	fs.StringVar(&f.hostname, "hostname-override", "",
		"The name of this node's Node object. Default: the host name.")
}

// AddRules adds the flags that decide about rules.
func (f *Flags) AddRules(fs *pflag.FlagSet) {
	c := &f.kube
	fs.StringVar(&c.ClusterCIDR, "cluster-cidr", "",
		"The address range of the pods, or one of each IP family separated by a comma. Traffic to a cluster IP from outside of it is masqueraded.")
	fs.Var((*word)(&c.DetectLocalMode), "detect-local-mode",
		"How traffic of this node's pods is recognised: ClusterCIDR (default), NodeCIDR, BridgeInterface or InterfaceNamePrefix.")
	fs.StringVar(&c.DetectLocal.BridgeInterface, "pod-bridge-interface", "",
		"The bridge that this node's pods are connected to, for --detect-local-mode=BridgeInterface.")
	fs.StringVar(&c.DetectLocal.InterfaceNamePrefix, "pod-interface-name-prefix", "",
		"What the names of this node's pod interfaces begin with, for --detect-local-mode=InterfaceNamePrefix.")
	fs.BoolVar(&c.IPTables.MasqueradeAll, "masquerade-all", false,
		"Masquerade all traffic to cluster IPs.")
	fs.Int32Var(c.IPTables.MasqueradeBit, "iptables-masquerade-bit", *c.IPTables.MasqueradeBit,
		"The bit of the packet mark, 0 to 31, that stands for masquerading.")
	fs.BoolVar(c.IPTables.LocalhostNodePorts, "iptables-localhost-nodeports", *c.IPTables.LocalhostNodePorts,
		"Let node ports answer on 127.0.0.0/8 too, which sets the sysctl net.ipv4.conf.all.route_localnet. IPv4 only.")
	fs.StringSliceVar(&c.NodePortAddresses, "nodeport-addresses", nil,
		"Where node ports answer: a list of CIDRs and of the words primary, localhost and all. Empty: on all addresses.")
	fs.Var((*address)(&c.BindAddress), "bind-address",
		"The node's address, where it is not the one of the Node object. Nothing is bound to it.")
	fs.Var(cliflag.NewMapStringBool(&c.FeatureGates), "feature-gates",
		"Feature gates of Kubernetes "+KubernetesVersion+", as NAME=true|false,... All names are known; of effect are AllowServiceExternalIPs, and those of logging, of the client and of status pages.")
	fs.StringVar(&f.backend, "iptables-backend", f.backend,
		"Which iptables to program: nft, legacy or auto (the one that the kubelet and the rules of this node use).")
}

func (f *Flags) addTasks(fs *pflag.FlagSet) {
	fs.StringVar(&f.writeTo, "write-config-to", "",
		"Write the resolved configuration to this file, and exit.")
	fs.BoolVar(&f.cleanup, "cleanup", false,
		"Remove the rules of espalier and of kube-proxy from this node, and exit.")
	fs.BoolVar(&f.initOnly, "init-only", false,
		"Do what needs all privileges (sysctls), and exit. Another process can then run with CAP_NET_ADMIN alone.")
}

func (f *Flags) addClient(fs *pflag.FlagSet) {
	c := &f.kube.ClientConnection
	fs.StringVar(&c.ContentType, "kube-api-content-type", c.ContentType,
		"The content type of requests to the API server.")
	fs.Int32Var(&c.Burst, "kube-api-burst", c.Burst,
		"How many requests to the API server may follow each other at once.")
	fs.Float32Var(&c.QPS, "kube-api-qps", c.QPS,
		"How many requests a second to send to the API server in the long run. Negative: no limit.")
	fs.DurationVar(&f.kube.ConfigSyncPeriod.Duration, "config-sync-period", f.kube.ConfigSyncPeriod.Duration,
		"How often to look through the known cluster again. Must be above 0. Nothing here needs it.")
}

func (f *Flags) addServe(fs *pflag.FlagSet) {
	c := &f.kube
	fs.Var((*addressPort)(&c.HealthzBindAddress), "healthz-bind-address",
		"Where to answer probes at /healthz and /livez: IP or IP:port.")
	fs.Var((*addressPort)(&c.MetricsBindAddress), "metrics-bind-address",
		"Where to show metrics, at /metrics, and the status, at /statusz: IP or IP:port.")
	fs.BoolVar(&c.BindAddressHardFail, "bind-address-hard-fail", false,
		"Exit if the address of health checks or metrics cannot be bound, instead of trying again.")
	fs.BoolVar(&c.EnableProfiling, "profiling", false,
		"Serve /debug/pprof and /debug/flags beside the metrics.")
	fs.BoolVar(&f.serviceMetrics, "service-metrics", false,
		"Show, for each Service, what its rules have counted: connections, and bytes of their first packets. Each scrape reads all rules.")
	fs.StringVar(&c.ShowHiddenMetricsForVersion, "show-hidden-metrics-for-version", "",
		"The previous minor release, "+previousMinor()+", to show the metrics that it has hidden. Nothing else is allowed.")
	fs.Int32Var(&f.healthzPort, "healthz-port", f.healthzPort, "The port of health checks. 0: none.")
	fs.Int32Var(&f.metricsPort, "metrics-port", f.metricsPort, "The port of metrics.")
	// Both only fail for flags that are not there.
	_ = fs.MarkDeprecated("healthz-port", "Please use --healthz-bind-address instead.")
	_ = fs.MarkDeprecated("metrics-port", "Please use --metrics-bind-address instead.")
}

func (f *Flags) addNode(fs *pflag.FlagSet) {
	c := &f.kube.Conntrack
	fs.Int32Var(c.MaxPerCore, "conntrack-max-per-core", *c.MaxPerCore,
		"How many connections to track for each processor. 0: leave the limit as it is, and ignore --conntrack-min.")
	fs.Int32Var(c.Min, "conntrack-min", *c.Min,
		"How many connections to track at least.")
	fs.DurationVar(&c.TCPEstablishedTimeout.Duration, "conntrack-tcp-timeout-established", c.TCPEstablishedTimeout.Duration,
		"How long idle TCP connections are tracked. 0: leave it as it is.")
	fs.DurationVar(&c.TCPCloseWaitTimeout.Duration, "conntrack-tcp-timeout-close-wait", c.TCPCloseWaitTimeout.Duration,
		"How long TCP connections in the state CLOSE_WAIT are tracked. 0: leave it as it is.")
	fs.BoolVar(&c.TCPBeLiberal, "conntrack-tcp-be-liberal", false,
		"Set nf_conntrack_tcp_be_liberal, so that packets out of the window are tracked.")
	fs.DurationVar(&c.UDPTimeout.Duration, "conntrack-udp-timeout", 0,
		"How long UDP flows without an answer are tracked. 0: leave it as it is.")
	fs.DurationVar(&c.UDPStreamTimeout.Duration, "conntrack-udp-timeout-stream", 0,
		"How long UDP flows with answers are tracked. 0: leave it as it is.")
	fs.Int32Var(f.kube.OOMScoreAdj, "oom-score-adj", *f.kube.OOMScoreAdj,
		"The oom_score_adj of this process, -1000 to 1000.")
	fs.Var((*word)(&f.kube.Mode), "proxy-mode",
		"The mode of kube-proxy: iptables is the only one here.")
}

// addIPVS adds flags that are accepted, so that a command line need not be changed, and ignored.
func (f *Flags) addIPVS(fs *pflag.FlagSet) {
	const none = "Of no effect: for the mode ipvs."
	c := &f.kube.IPVS
	fs.DurationVar(&f.ipvsSyncPeriod, "ipvs-sync-period", f.ipvsSyncPeriod, none)
	fs.DurationVar(&f.ipvsMinPeriod, "ipvs-min-sync-period", f.ipvsMinPeriod, none)
	fs.StringVar(&c.Scheduler, "ipvs-scheduler", "", none)
	fs.StringSliceVar(&c.ExcludeCIDRs, "ipvs-exclude-cidrs", nil, none)
	fs.BoolVar(&c.StrictARP, "ipvs-strict-arp", false, none)
	fs.DurationVar(&c.TCPTimeout.Duration, "ipvs-tcp-timeout", 0, none)
	fs.DurationVar(&c.TCPFinTimeout.Duration, "ipvs-tcpfin-timeout", 0, none)
	fs.DurationVar(&c.UDPTimeout.Duration, "ipvs-udp-timeout", 0, none)
}
