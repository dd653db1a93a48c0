// Package nfacct makes and reads the counters of the kernel that rules can name (-m nfacct), over netlink.
//
// It does not know which counters there should be. The one rule to respect: a counter belongs to the network
// namespace of the thread that makes it, and outlives the process; nothing here removes one.
package nfacct

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Messages and attributes of the accounting subsystem (linux/netfilter/nfnetlink_acct.h).
const (
	subsystem = 7
	msgNew    = 0
	msgGet    = 1

	attrName    = 1
	attrPackets = 2

	maxName = 31 // NFACCT_NAME_MAX with the final NUL is 32
)

// Ensure makes a counter, or leaves it as it is if it exists. An error means that rules cannot name it: the kernel
// has no such subsystem (nfnetlink_acct), or the privilege CAP_NET_ADMIN is missing.
func Ensure(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("make counter %q: its name must have 1 to %d bytes", name, maxName)
	}
	_, err := ask(msgNew, unix.NLM_F_CREATE|unix.NLM_F_ACK, name)
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("make counter %q: %w", name, err)
	}
	return nil
}

// Packets returns how many packets a counter has counted.
func Packets(name string) (uint64, error) {
	messages, err := ask(msgGet, unix.NLM_F_ACK, name)
	if err != nil {
		return 0, fmt.Errorf("read counter %q: %w", name, err)
	}
	for _, m := range messages {
		attrs, err := nl.ParseRouteAttr(m[min(nl.SizeofNfgenmsg, len(m)):])
		if err != nil {
			return 0, fmt.Errorf("read counter %q: %w", name, err)
		}
		for _, a := range attrs {
			if a.Attr.Type&nl.NLA_TYPE_MASK == attrPackets && len(a.Value) == 8 {
				return binary.BigEndian.Uint64(a.Value), nil
			}
		}
	}
	return 0, fmt.Errorf("read counter %q: the kernel's answer has no number of packets", name)
}

func ask(message, flags int, name string) ([][]byte, error) {
	req := nl.NewNetlinkRequest(subsystem<<8|message, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(attrName, nl.ZeroTerminated(name)))
	return req.Execute(unix.NETLINK_NETFILTER, 0)
}
