package sysctl

import (
	"runtime"
	"time"

	"k8s.io/utils/cpuset"
)

// Conntrack is how the kernel should keep track of connections. The zero value leaves everything as it is.
//
// Sources: https://docs.kernel.org/networking/nf_conntrack-sysctl.html, kubernetes: pkg/proxy/conntrack/sysctls.go.
type Conntrack struct {
	// MaxPerCore is how many connections to keep for each processor of the host, and Min how many at least. With
	// MaxPerCore 0 the size of the table is not touched, and Min means nothing.
	MaxPerCore, Min int
	// Established and CloseWait are how long idle TCP connections in these states are kept, in whole seconds; what is
	// behind the seconds is cut off. Zero: leave it. A negative value is not one.
	Established, CloseWait time.Duration
	// UDP is for flows that were never answered, UDPStream for those that were.
	UDP, UDPStream time.Duration
	// Liberal accepts TCP packets that are out of the window. False leaves it as it is.
	Liberal bool
}

const (
	netfilter = "proc/sys/net/netfilter/nf_conntrack_"
	hashSize  = "sys/module/nf_conntrack/parameters/hashsize"
	// sizeLimit keeps the table from taking too much memory on machines with many processors. It counts more than Min.
	sizeLimit = 1 << 20
)

// Liberal is the sysctl that says whether TCP packets out of the window are valid.
const Liberal = netfilter + "tcp_be_liberal"

// Settings returns what to set on a host with some number of processors.
func (c Conntrack) Settings(cpus int) []Setting {
	var list []Setting
	if size := c.size(cpus); size > 0 {
		const instead = "--conntrack-max-per-core=0 (conntrack.maxPerCore: 0)"
		list = append(list,
			Setting{Path: netfilter + "max", Value: size, AtLeast: true, Instead: instead},
			Setting{Path: hashSize, Value: size / 4, AtLeast: true, Instead: instead})
	}
	for _, t := range []struct {
		name    string
		time    time.Duration
		instead string
	}{
		{"tcp_timeout_established", c.Established, "--conntrack-tcp-timeout-established=0 (conntrack.tcpEstablishedTimeout: 0s)"},
		{"tcp_timeout_close_wait", c.CloseWait, "--conntrack-tcp-timeout-close-wait=0 (conntrack.tcpCloseWaitTimeout: 0s)"},
		{"udp_timeout", c.UDP, "--conntrack-udp-timeout=0 (conntrack.udpTimeout: 0s)"},
		{"udp_timeout_stream", c.UDPStream, "--conntrack-udp-timeout-stream=0 (conntrack.udpStreamTimeout: 0s)"},
	} {
		if t.time > 0 {
			list = append(list, Setting{Path: netfilter + t.name, Value: int(t.time / time.Second), Instead: t.instead})
		}
	}
	if c.Liberal {
		list = append(list, Setting{Path: Liberal, Value: 1, Instead: "--conntrack-tcp-be-liberal=false (conntrack.tcpBeLiberal: false)"})
	}
	return list
}

// size returns how many connections the table should be able to hold; 0: as it is.
func (c Conntrack) size(cpus int) int {
	if c.MaxPerCore <= 0 {
		return 0
	}
	if n := c.MaxPerCore * cpus; n > sizeLimit {
		return sizeLimit
	} else if n > c.Min {
		return n
	}
	return c.Min
}

// CPUs returns the number of processors of the host that are online. The processors that this process may use are
// fewer, if it is pinned to some, and the conntrack table is for all of them.
func (r Root) CPUs() int {
	if text, err := r.text("sys/devices/system/cpu/online"); err == nil {
		if set, err := cpuset.Parse(text); err == nil && set.Size() > 0 {
			return set.Size()
		}
	}
	return runtime.NumCPU()
}
