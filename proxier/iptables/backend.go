// Package iptables runs the iptables binaries: it reads the rules of the kernel, writes batches, finds out
// which backend and which families a node has, and cleans up. It is the only package that starts processes.
//
// It does not know what the rules mean, and it decides nothing about their order; see package delta.
//
// The one rule to respect: after an error of Restore the state of the kernel is unknown, because each COMMIT of
// the input stands alone. Read it back with Save before the next batch is computed.
package iptables

import (
	"fmt"
	"strings"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
)

// Backend is one of the two implementations behind the iptables commands. Rules of the one are invisible to
// the other, and a packet meets both.
type Backend uint8

const (
	// Auto is not known yet; see Detect.
	Auto Backend = iota
	// NFT keeps rules in nf_tables: iptables-nft.
	NFT
	// Legacy keeps rules in the ip_tables tables of the kernel: iptables-legacy.
	Legacy
)

// ParseBackend reads "auto", "nft" or "legacy".
func ParseBackend(s string) (Backend, error) {
	for _, b := range []Backend{Auto, NFT, Legacy} {
		if strings.EqualFold(s, b.String()) {
			return b, nil
		}
	}
	return Auto, fmt.Errorf("unknown iptables backend %q: want auto, nft or legacy", s)
}

// String returns "auto", "nft" or "legacy".
func (b Backend) String() string {
	switch b {
	case NFT:
		return "nft"
	case Legacy:
		return "legacy"
	}
	return "auto"
}

// Capabilities are what a process needs to read and to write rules. The legacy tools also look whether the user is root.
func (b Backend) Capabilities() []string {
	if b == Legacy {
		return []string{"CAP_NET_ADMIN", "CAP_NET_RAW"} // they open a raw socket
	}
	return []string{"CAP_NET_ADMIN"}
}

// Strategy is how a batch is written for the backend.
func (b Backend) Strategy() delta.Strategy {
	if b == NFT {
		return delta.NFT
	}
	return delta.Legacy
}

// base is the name that all commands of the family begin with.
func base(f ipproto.Family) string {
	if f == ipproto.IPv6 {
		return "ip6tables"
	}
	return "iptables"
}
