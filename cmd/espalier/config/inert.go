package config

import (
	"time"

	"github.com/spf13/pflag"
)

// inert returns the settings that were given and mean nothing here: those of other modes and of other systems. What has
// its default, as most of what kubeadm writes, is not among them.
func (l *Loaded) inert(fs *pflag.FlagSet) []string {
	var names []string
	c := &l.kube
	byFlag := l.flags.file == ""
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"ipvs.scheduler (--ipvs-scheduler)", c.IPVS.Scheduler != ""},
		{"ipvs.excludeCIDRs (--ipvs-exclude-cidrs)", len(c.IPVS.ExcludeCIDRs) > 0},
		{"ipvs.strictARP (--ipvs-strict-arp)", c.IPVS.StrictARP},
		{"ipvs.syncPeriod (--ipvs-sync-period)", c.IPVS.SyncPeriod.Duration != 30*time.Second || byFlag && fs.Changed("ipvs-sync-period")},
		{"ipvs.minSyncPeriod (--ipvs-min-sync-period)", c.IPVS.MinSyncPeriod.Duration != 0 || byFlag && fs.Changed("ipvs-min-sync-period")},
		{"ipvs.tcpTimeout (--ipvs-tcp-timeout)", c.IPVS.TCPTimeout.Duration != 0},
		{"ipvs.tcpFinTimeout (--ipvs-tcpfin-timeout)", c.IPVS.TCPFinTimeout.Duration != 0},
		{"ipvs.udpTimeout (--ipvs-udp-timeout)", c.IPVS.UDPTimeout.Duration != 0},
		{"nftables.masqueradeBit", *c.NFTables.MasqueradeBit != 14},
		{"nftables.masqueradeAll", c.NFTables.MasqueradeAll},
		{"nftables.syncPeriod", c.NFTables.SyncPeriod.Duration != 30*time.Second},
		{"nftables.minSyncPeriod", c.NFTables.MinSyncPeriod.Duration != time.Second},
		{"winkernel.networkName", c.Winkernel.NetworkName != ""},
		{"winkernel.sourceVip", c.Winkernel.SourceVip != ""},
		{"winkernel.enableDSR", c.Winkernel.EnableDSR},
		{"winkernel.rootHnsEndpointName", c.Winkernel.RootHnsEndpointName != ""},
		{"winkernel.forwardHealthCheckVip", c.Winkernel.ForwardHealthCheckVip},
		{"windowsRunAsService", c.WindowsRunAsService},
		{"portRange", c.PortRange != ""},
	} {
		if s.set {
			names = append(names, s.name)
		}
	}
	return names
}

func gateNames(gates []string) (names []string) {
	for _, g := range gates {
		names = append(names, "featureGates."+g)
	}
	return names
}
