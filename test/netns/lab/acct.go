package lab

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Messages and attributes of the accounting subsystem (linux/netfilter/nfnetlink_acct.h).
const (
	acctSubsystem = 7
	acctNew       = 0
	acctGet       = 1

	acctName    = 1
	acctPackets = 2
)

// NewAcct makes a counter on the node that rules can count with (-m nfacct). One that exists is left as it is.
func (l *Lab) NewAcct(name string) error {
	_, err := l.acct(acctNew, unix.NLM_F_CREATE|unix.NLM_F_ACK, name)
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("make counter %s: %w", name, err)
	}
	return nil
}

// AcctPackets returns how many packets a counter has counted.
func (l *Lab) AcctPackets(name string) (uint64, error) {
	messages, err := l.acct(acctGet, unix.NLM_F_ACK, name)
	if err != nil {
		return 0, fmt.Errorf("read counter %s: %w", name, err)
	}
	for _, m := range messages {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
		if err != nil {
			return 0, fmt.Errorf("read counter %s: %w", name, err)
		}
		for _, a := range attrs {
			if a.Attr.Type&nl.NLA_TYPE_MASK == acctPackets && len(a.Value) == 8 {
				return binary.BigEndian.Uint64(a.Value), nil
			}
		}
	}
	return 0, fmt.Errorf("read counter %s: no answer", name)
}

func (l *Lab) acct(message, flags int, name string) (answer [][]byte, err error) {
	err = l.hosts[Node].Do(func() (err error) {
		req := nl.NewNetlinkRequest(acctSubsystem<<8|message, flags)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
		req.AddData(nl.NewRtAttr(acctName, nl.ZeroTerminated(name)))
		answer, err = req.Execute(unix.NETLINK_NETFILTER, 0)
		return err
	})
	return answer, err
}
