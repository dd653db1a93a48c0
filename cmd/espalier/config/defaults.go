package config

import (
	"net"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"

	"espalier/watcher/convert"
)

// The ports of kube-proxy (kubernetes: pkg/cluster/ports).
const (
	healthzPort = 10256
	metricsPort = 10249
)

// setDefaults fills in what is not there, where zero counts as not there, too, except behind a pointer: the defaults of
// kube-proxy (kubernetes: pkg/proxy/apis/config/v1alpha1/defaults.go).
func setDefaults(c *v1alpha1.KubeProxyConfiguration) {
	orElse(&c.BindAddress, "0.0.0.0")
	everywhere, loopback := "::", "::1"
	if ip, err := convert.ParseAddr(c.BindAddress); err == nil && ip.Is4() {
		everywhere, loopback = "0.0.0.0", "127.0.0.1"
	}
	orElse(&c.HealthzBindAddress, everywhere)
	c.HealthzBindAddress = withPort(c.HealthzBindAddress, healthzPort)
	orElse(&c.MetricsBindAddress, loopback)
	c.MetricsBindAddress = withPort(c.MetricsBindAddress, metricsPort)
	if c.FeatureGates == nil {
		c.FeatureGates = map[string]bool{}
	}
	orElse(&c.ClientConnection.ContentType, "application/vnd.kubernetes.protobuf")
	orElse(&c.ClientConnection.QPS, 5)
	orElse(&c.ClientConnection.Burst, 10)
	orElse(&c.ConfigSyncPeriod.Duration, 15*time.Minute)
	orNew(&c.OOMScoreAdj, -999)

	orNew(&c.IPTables.MasqueradeBit, 14)
	orNew(&c.IPTables.LocalhostNodePorts, true)
	orElse(&c.IPTables.SyncPeriod.Duration, 30*time.Second)
	orElse(&c.IPTables.MinSyncPeriod.Duration, time.Second)
	orElse(&c.IPVS.SyncPeriod.Duration, 30*time.Second)
	orNew(&c.NFTables.MasqueradeBit, 14)
	orElse(&c.NFTables.SyncPeriod.Duration, 30*time.Second)
	orElse(&c.NFTables.MinSyncPeriod.Duration, time.Second)

	orNew(&c.Conntrack.MaxPerCore, 32*1024)
	orNew(&c.Conntrack.Min, 128*1024)
	orNew(&c.Conntrack.TCPEstablishedTimeout, metav1.Duration{Duration: 24 * time.Hour})
	orNew(&c.Conntrack.TCPCloseWaitTimeout, metav1.Duration{Duration: time.Hour})
	logsapi.SetRecommendedLoggingConfiguration(&c.Logging)
}

// setPlatformDefaults fills in what the rest of the configuration is resolved before.
func setPlatformDefaults(c *v1alpha1.KubeProxyConfiguration) (modeDefaulted bool) {
	modeDefaulted = c.Mode == ""
	orElse(&c.Mode, modeIPTables)
	orElse(&c.DetectLocalMode, v1alpha1.LocalMode(ClusterCIDR))
	return modeDefaulted
}

func orElse[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func orNew[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

// withPort completes an address that has no port. What is not an address stays as it is, for the check to complain of.
func withPort(addr string, port int) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	if _, err := convert.ParseAddr(addr); err != nil {
		return addr
	}
	return net.JoinHostPort(addr, strconv.Itoa(port))
}
