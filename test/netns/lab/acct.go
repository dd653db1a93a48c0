package lab

import "espalier/proxier/nfacct"

// NewAcct makes a counter on the node that rules can count with (-m nfacct). One that exists is left as it is.
func (l *Lab) NewAcct(name string) error {
	return l.hosts[Node].Do(func() error { return nfacct.Ensure(name) })
}

// AcctPackets returns how many packets a counter has counted.
func (l *Lab) AcctPackets(name string) (packets uint64, err error) {
	err = l.hosts[Node].Do(func() (err error) {
		packets, err = nfacct.Packets(name)
		return err
	})
	return packets, err
}
