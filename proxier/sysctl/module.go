package sysctl

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Messages of the connection tracking subsystem (linux/netfilter/nfnetlink_conntrack.h).
const (
	subsystem   = 1 // NFNL_SUBSYS_CTNETLINK
	msgGetStats = 5 // IPCTNL_MSG_CT_GET_STATS
)

// HasConntrack reports whether the settings of conntrack are there: a kernel that has it as a module has none of them
// before something has loaded it, a rule for example.
func (r Root) HasConntrack() bool {
	_, err := r.Read(netfilter + "max")
	return !errors.Is(err, fs.ErrNotExist)
}

// LoadConntrack makes the kernel of this machine load its module for conntrack. The kernel does so by itself when it is
// asked about connections, for whoever has CAP_NET_ADMIN; modprobe, and the modules of the host in a container, would
// take more.
func LoadConntrack() error {
	req := nl.NewNetlinkRequest(subsystem<<8|msgGetStats, unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil {
		return fmt.Errorf("ask the kernel how many connections it tracks: %w", err)
	}
	return nil
}
