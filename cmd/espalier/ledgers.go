package main

import (
	"k8s.io/klog/v2"

	"espalier/proxier/generation"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/syncer"
)

// ledgers opens what tells whether somebody else wrote to the tables: with nft one for both families, whose commits
// the kernel counts together, with legacy one for each.
type ledgers struct {
	backend iptables.Backend
	shared  *syncer.Ledger
}

// of returns the ledger of a family; nil if the kernel cannot be asked. Then its rules are read back now and then.
func (l *ledgers) of(f ipproto.Family) *syncer.Ledger {
	if l.shared != nil {
		return l.shared
	}
	open := func() (*generation.Probe, error) { return generation.OpenLegacy(f) }
	if l.backend == iptables.NFT {
		open = generation.OpenNFT
	}
	probe, err := open()
	if err != nil {
		klog.InfoS("Cannot ask the kernel whether others write; its rules are read back now and then", "family", f, "because", err)
		return nil
	}
	ledger := syncer.NewLedger(probe)
	if l.backend == iptables.NFT {
		l.shared = ledger
	}
	return ledger
}
