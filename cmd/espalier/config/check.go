package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"espalier/proxier/iptables"
	"espalier/proxier/sysctl"
	"espalier/watcher/convert"
)

// The modes that kube-proxy has.
const (
	modeIPTables = "iptables"
	modeIPVS     = "ipvs"
	modeNFTables = "nftables"
)

// minPeriodLimit is the greatest --iptables-min-sync-period. Beyond it, kube-proxy panics at the first change.
const minPeriodLimit = time.Hour

// Check makes the Config, and returns all errors at once. Each begins with the name of the field and of the flag.
func (l *Loaded) Check() (Config, error) {
	var p problems
	c := Config{
		Task: l.task(), WriteTo: l.flags.writeTo,
		Kube: l.kube, File: l.file, Notes: l.notes, Gates: l.gates, ModeDefaulted: l.modeDefaulted,
	}
	l.checkMode(&p)
	l.checkPeriods(&p)
	c.Rules = l.rules(&p)
	c.Serve = l.serve(&p)
	c.Conntrack = l.conntrack(&p)
	c.OOMScoreAdj = p.within("oomScoreAdj (--oom-score-adj)", *l.kube.OOMScoreAdj, -1000, 1000)
	c.Source = l.source(&p)
	c.SyncPeriod = l.kube.IPTables.SyncPeriod.Duration
	if l.minPeriodGiven {
		c.MinSyncPeriod = l.kube.IPTables.MinSyncPeriod.Duration
	}
	var err error
	if c.Backend, err = iptables.ParseBackend(l.flags.backend); err != nil {
		p.add("--iptables-backend", "%v", err)
	}
	if c.Task == Run || c.Task == InitOnly {
		c.NodeName = l.nodeName(&p)
	}
	return c, errors.Join(p...)
}

func (l *Loaded) task() Task {
	switch {
	case l.flags.writeTo != "":
		return WriteConfig
	case l.flags.cleanup:
		return Cleanup
	case l.flags.initOnly:
		return InitOnly
	}
	return Run
}

func (l *Loaded) checkMode(p *problems) {
	const field = "mode (--proxy-mode)"
	switch mode := l.kube.Mode; mode {
	case modeIPTables:
	case modeIPVS, modeNFTables:
		p.add(field, "%q is a mode of kube-proxy that is not in this program, whose rules are those of iptables: use %q, or leave it empty, "+
			"after \"kube-proxy --cleanup\" or a reboot has removed what the mode %s left on the node; or go on with kube-proxy", mode, modeIPTables, mode)
	default:
		p.add(field, "%q is unknown; want %q, or leave it empty", mode, modeIPTables)
	}
}

func (l *Loaded) checkPeriods(p *problems) {
	const period, minimum = "iptables.syncPeriod (--iptables-sync-period)", "iptables.minSyncPeriod (--iptables-min-sync-period)"
	t := l.kube.IPTables
	if t.SyncPeriod.Duration <= 0 {
		p.add(period, "%s is not above 0", t.SyncPeriod.Duration)
	}
	if t.MinSyncPeriod.Duration < 0 || t.MinSyncPeriod.Duration > minPeriodLimit {
		p.add(minimum, "%s is not between 0 and %s", t.MinSyncPeriod.Duration, "1h")
	}
	if t.MinSyncPeriod.Duration > t.SyncPeriod.Duration {
		p.add(period, "%s is below the %s of %s", t.SyncPeriod.Duration, t.MinSyncPeriod.Duration, minimum)
	}
	if d := l.kube.ConfigSyncPeriod.Duration; d <= 0 {
		p.add("configSyncPeriod (--config-sync-period)", "%s is not above 0", d)
	}
}

func (l *Loaded) serve(p *problems) Serve {
	s := Serve{
		HardFail: l.kube.BindAddressHardFail, Profiling: l.kube.EnableProfiling, ServiceMetrics: l.flags.serviceMetrics, HiddenMetrics: l.kube.ShowHiddenMetricsForVersion != "",
	}
	if l.kube.HealthzBindAddress != "" {
		s.Healthz = p.listen("healthzBindAddress (--healthz-bind-address)", l.kube.HealthzBindAddress)
	}
	const metrics = "metricsBindAddress (--metrics-bind-address)"
	if l.kube.MetricsBindAddress == "" {
		p.add(metrics, "metrics cannot be switched off; want IP:port, like 127.0.0.1:%d", metricsPort)
	} else {
		s.Metrics = p.listen(metrics, l.kube.MetricsBindAddress)
	}
	if v := l.kube.ShowHiddenMetricsForVersion; v != "" && v != previousMinor() {
		p.add("showHiddenMetricsForVersion (--show-hidden-metrics-for-version)", "%q is not the previous minor release, %s", v, previousMinor())
	}
	return s
}

func (l *Loaded) conntrack(p *problems) sysctl.Conntrack {
	c := l.kube.Conntrack
	return sysctl.Conntrack{
		MaxPerCore:  p.within("conntrack.maxPerCore (--conntrack-max-per-core)", *c.MaxPerCore, 0, math.MaxInt32),
		Min:         p.within("conntrack.min (--conntrack-min)", *c.Min, 0, math.MaxInt32),
		Established: p.notNegative("conntrack.tcpEstablishedTimeout (--conntrack-tcp-timeout-established)", c.TCPEstablishedTimeout.Duration),
		CloseWait:   p.notNegative("conntrack.tcpCloseWaitTimeout (--conntrack-tcp-timeout-close-wait)", c.TCPCloseWaitTimeout.Duration),
		UDP:         p.notNegative("conntrack.udpTimeout (--conntrack-udp-timeout)", c.UDPTimeout.Duration),
		UDPStream:   p.notNegative("conntrack.udpStreamTimeout (--conntrack-udp-timeout-stream)", c.UDPStreamTimeout.Duration),
		Liberal:     c.TCPBeLiberal,
	}
}

func (l *Loaded) source(p *problems) Source {
	c := l.kube.ClientConnection
	s := Source{
		Kubeconfig: c.Kubeconfig, Master: l.flags.master, Manifests: l.flags.manifests,
		QPS: c.QPS, Burst: p.within("clientConnection.burst (--kube-api-burst)", c.Burst, 0, math.MaxInt32),
		ContentType: c.ContentType, AcceptContentTypes: c.AcceptContentTypes,
		Resync: l.kube.ConfigSyncPeriod.Duration,
	}
	// The kubeconfig of a file is only what to do without manifests.
	if s.Manifests != "" && (s.Master != "" || s.Kubeconfig != "" && l.flags.file == "") {
		p.add("--manifests", "it and --kubeconfig or --master exclude each other")
	}
	return s
}

// nodeName returns the name of the own Node: it is compared literally with what the API says.
func (l *Loaded) nodeName(p *problems) string {
	const field = "hostnameOverride (--hostname-override)"
	name := l.kube.HostnameOverride
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			p.add(field, "find the host name: %v; give one", err)
			return ""
		}
	}
	if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
		p.add(field, "the name is blank")
	}
	return name
}

// problems collects what is wrong.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
}

func (p *problems) within(field string, n int32, least, most int) int {
	switch {
	case int(n) >= least && int(n) <= most:
	case most == math.MaxInt32:
		p.add(field, "%d is below %d", n, least)
	default:
		p.add(field, "%d is not between %d and %d", n, least, most)
	}
	return int(n)
}

func (p *problems) notNegative(field string, d time.Duration) time.Duration {
	if d < 0 {
		p.add(field, "%s is below 0", d)
	}
	return d
}

func (p *problems) listen(field, text string) netip.AddrPort {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		p.add(field, "%q is not IP:port, like 10.0.0.1:10256 or [fd00::1]:10256", text)
		return netip.AddrPort{}
	}
	ip, err := convert.ParseAddr(host)
	if err != nil {
		p.add(field, "%v", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > math.MaxUint16 {
		p.add(field, "%q is not a port between 1 and 65535", port)
	}
	return netip.AddrPortFrom(ip, uint16(n))
}

// previousMinor is the release before KubernetesVersion, as MAJOR.MINOR.
func previousMinor() string {
	major, rest, _ := strings.Cut(KubernetesVersion, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, _ := strconv.Atoi(minor) // a constant of ours
	return major + "." + strconv.Itoa(n-1)
}
