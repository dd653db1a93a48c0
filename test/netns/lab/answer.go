package lab

import (
	"fmt"
	"net/netip"
)

// Answer is what a server of the lab replies to whoever contacts it.
type Answer struct {
	By   Host           // where the packet ended
	At   netip.AddrPort // its destination, there
	Peer netip.AddrPort // its source, there
}

// String returns the answer as it travels, without the line break that ends it.
func (a Answer) String() string { return fmt.Sprintf("%s %s %s", a.By, a.At, a.Peer) }

func parseAnswer(line string) (Answer, error) {
	var by, at, peer string
	if _, err := fmt.Sscan(line, &by, &at, &peer); err != nil {
		return Answer{}, fmt.Errorf("read answer %q: %w", line, err)
	}
	a := Answer{By: Host(by)}
	var err error
	if a.At, err = netip.ParseAddrPort(at); err != nil {
		return Answer{}, fmt.Errorf("read answer %q: %w", line, err)
	}
	if a.Peer, err = netip.ParseAddrPort(peer); err != nil {
		return Answer{}, fmt.Errorf("read answer %q: %w", line, err)
	}
	return a, nil
}
