package iptables

import (
	"fmt"
	"strings"
)

// Evidence is what speaks for a backend on this node; see Gather.
type Evidence struct {
	NFT, Legacy Found
	// Default is the backend of the plain iptables command; Auto if there is none.
	Default Backend
	// DefaultVersion is what that command says of itself.
	DefaultVersion string
}

// Found is what was found of one backend, both families together.
type Found struct {
	// Missing says why the backend cannot be used; empty if it can.
	Missing string
	// Hint is a chain in the mangle table by which the kubelet tells everybody what it uses
	// (KEP-3178); empty if there is none.
	Hint string
	// Kube is the number of rules in chains whose name begins with KUBE-, Rules that of all rules.
	Kube, Rules int
}

// Choose decides which backend to use, and says why. A wish other than Auto is obeyed, if it is possible.
//
// All programs of a node should use the same backend: a packet meets the rules of both, in an order that
// nobody sees, and a program does not see what is in the other one.
func Choose(wish Backend, e Evidence) (b Backend, why string, err error) {
	switch {
	case wish != Auto && e.of(wish).Missing != "":
		return Auto, "", fmt.Errorf("backend %v was asked for, but: %s", wish, e.of(wish).Missing)
	case wish != Auto:
		return wish, "asked for", nil
	case e.NFT.Missing != "" && e.Legacy.Missing != "":
		return Auto, "", fmt.Errorf("no iptables on this node: %s", e.NFT.Missing)
	case e.Legacy.Missing != "":
		return NFT, "the only one installed", nil
	case e.NFT.Missing != "":
		return Legacy, "the only one installed", nil
	case e.NFT.Hint != "" && e.Legacy.Hint == "":
		return NFT, "the kubelet's chain " + e.NFT.Hint + " is there", nil
	case e.Legacy.Hint != "" && e.NFT.Hint == "":
		return Legacy, "the kubelet's chain " + e.Legacy.Hint + " is there", nil
	}
	b, why = e.weigh()
	if e.NFT.Hint != "" {
		why = "the kubelet's chains are in both, " + why
	}
	return b, why, nil
}

// weigh compares the rules.
func (e Evidence) weigh() (Backend, string) {
	more := func(nft, legacy int, what string) (Backend, string) {
		b := NFT
		if legacy > nft {
			b, nft, legacy = Legacy, legacy, nft
		}
		return b, fmt.Sprintf("%d %s, the other has %d", nft, what, legacy)
	}
	switch {
	case e.NFT.Kube != e.Legacy.Kube:
		return more(e.NFT.Kube, e.Legacy.Kube, "rules in KUBE- chains")
	case e.NFT.Rules != e.Legacy.Rules:
		return more(e.NFT.Rules, e.Legacy.Rules, "rules")
	case e.Default != Auto:
		return e.Default, fmt.Sprintf("no rules to go by, the iptables command is %q", strings.TrimSpace(e.DefaultVersion))
	}
	return NFT, "no rules to go by, and no plain iptables command"
}

func (e Evidence) of(b Backend) Found {
	if b == Legacy {
		return e.Legacy
	}
	return e.NFT
}
