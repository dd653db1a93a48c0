package ipvsmode

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// device has the addresses of all Services, so that the kernel takes packets to them for its own.
const device = "kube-ipvs0"

// Remove removes what there is of it in the network namespace of the calling thread, and says what that was, like
// "ip set KUBE-CLUSTER-IP". It goes on after an error.
func Remove() (removed []string, err error) {
	there, errDevice := hasDevice()
	var errServers error
	if there {
		var some bool
		if some, errServers = removeServers(); some {
			removed = append(removed, "the virtual servers of IPVS")
		}
		// The device goes last: without it, nobody would know the next time whose the servers are.
		if errServers == nil {
			if errDevice = removeDevice(); errDevice == nil {
				removed = append(removed, "device "+device)
			}
		}
	}
	sets, errSets := removeSets()
	return append(removed, sets...), errors.Join(errDevice, errServers, errSets)
}

// setNames are those of IPv4.
var setNames = []string{
	"KUBE-LOOP-BACK", "KUBE-CLUSTER-IP", "KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL",
	"KUBE-LOAD-BALANCER", "KUBE-LOAD-BALANCER-LOCAL", "KUBE-LOAD-BALANCER-FW", "KUBE-LOAD-BALANCER-SOURCE-IP", "KUBE-LOAD-BALANCER-SOURCE-CIDR",
	"KUBE-NODE-PORT-TCP", "KUBE-NODE-PORT-LOCAL-TCP", "KUBE-NODE-PORT-UDP", "KUBE-NODE-PORT-LOCAL-UDP",
	"KUBE-NODE-PORT-SCTP-HASH", "KUBE-NODE-PORT-LOCAL-SCTP-HASH", "KUBE-HEALTH-CHECK-NODE-PORT", "KUBE-IPVS-IPS",
}

// ofIPv6 is the name of the same set of IPv6: KUBE-6- in front instead of KUBE-, and no longer than the kernel takes.
func ofIPv6(name string) string {
	const longest = 31 // IPSET_MAXNAMELEN is 32, with the final NUL
	name = strings.Replace(name, "KUBE-", "KUBE-6-", 1)
	return name[:min(len(name), longest)]
}

func removeSets() (removed []string, err error) {
	var errs []error
	for _, v4 := range setNames {
		for _, name := range []string{v4, ofIPv6(v4)} {
			switch err := removeSet(name); {
			case err == nil:
				removed = append(removed, "ip set "+name)
			case errors.Is(err, syscall.Errno(nl.IPSET_ERR_BUSY)):
				errs = append(errs, fmt.Errorf("remove ip set %s: a rule of somebody else asks it; remove that rule and try again", name))
			case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
				return removed, errors.Join(errs...) // the kernel has no sets
			case !errors.Is(err, unix.ENOENT):
				errs = append(errs, fmt.Errorf("remove ip set %s: %w", name, err))
			}
		}
	}
	return removed, errors.Join(errs...)
}

// removeSet removes one set. The function of package netlink that does it panics at errors that it does not expect.
// Without NLM_F_EXCL it would be no error that there is none.
func removeSet(name string) error {
	req := nl.NewNetlinkRequest(nl.IPSET_CMD_DESTROY|unix.NFNL_SUBSYS_IPSET<<8, unix.NLM_F_ACK|unix.NLM_F_EXCL)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name)))
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

// hasDevice reports whether there is the device. One of this name that is not a dummy is somebody else's.
func hasDevice() (bool, error) {
	link, err := netlink.LinkByName(device)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for device %s: %w", device, err)
	}
	return link.Type() == "dummy", nil
}

func removeDevice() error {
	link, err := netlink.LinkByName(device)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove device %s: %w", device, err)
	}
	return nil
}

// Of IPVS's messages (linux/ip_vs.h).
const (
	ipvsFamily  = "IPVS"
	ipvsVersion = 1
	cmdFlush    = 17 // IPVS_CMD_FLUSH
)

// removeServers removes all virtual servers of both families, and reports whether the kernel has any to do with.
func removeServers() (bool, error) {
	family, err := netlink.GenlFamilyGet(ipvsFamily)
	if errors.Is(err, unix.ENOENT) {
		return false, nil // the module is not loaded
	}
	if err != nil {
		return false, fmt.Errorf("look for IPVS: %w", err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: cmdFlush, Version: ipvsVersion})
	if _, err := req.Execute(unix.NETLINK_GENERIC, 0); err != nil {
		return false, fmt.Errorf("remove the virtual servers of IPVS: %w", err)
	}
	return true, nil
}
