package iptables

import (
	"context"

	"espalier/proxier/ipproto"
)

// Detect says which backend the node uses, and by what evidence. A wish other than Auto is obeyed if its
// binaries are there.
func Detect(ctx context.Context, wish Backend) (b Backend, why string, err error) {
	return NFT, "", nil
}

// Usable says for a family whether the node can be programmed in it, and why not.
type Usable struct {
	Family ipproto.Family
	OK     bool
	Why    string
}

// Families asks for each family, independent of the other, in the order of ipproto.Families.
func Families(ctx context.Context, b Backend) []Usable { return nil }

// Capabilities is what the kernel can match beyond what every kernel can.
type Capabilities struct {
	// Hairpin: xt_bpf compares source and destination address.
	Hairpin bool
	// Acct has the nfacct objects that rules can count with.
	Acct map[string]bool
}

// Probe finds out by loading rules into a scratch chain, which it removes again.
func (k *Kernel) Probe(ctx context.Context, acct ...string) (Capabilities, error) {
	return Capabilities{}, nil
}
