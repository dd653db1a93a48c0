package iptables

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"espalier/proxier/ruleset"
)

// Capabilities is what the kernel can match beyond what every kernel can.
type Capabilities struct {
	// Hairpin: xt_bpf compares the source with the destination address.
	Hairpin bool
	// Acct has the nfacct objects that rules can count with.
	Acct map[string]bool
	// Why has the reason for each thing that is missing, by its name: "hairpin", or the nfacct object.
	Why map[string]string
}

// Probe finds out by loading rules into a scratch chain of the nat table, which it removes again. acct are the
// names of nfacct objects to try. An error means that not even an empty chain can be made.
//
// A rule is really loaded because iptables-restore --test passes what the kernel then refuses.
func (k *Kernel) Probe(ctx context.Context, acct ...string) (Capabilities, error) {
	if err := k.try(ctx, ruleset.Rule{Comment: "probe"}); err != nil {
		return Capabilities{}, fmt.Errorf("load a rule into a scratch chain: %w", err)
	}
	found := Capabilities{Acct: map[string]bool{}, Why: map[string]string{}}
	note := func(name string, r ruleset.Rule) (bool, error) {
		err := k.try(ctx, r)
		refused, ok := errors.AsType[*RestoreError](err)
		switch {
		case err == nil:
			return true, nil
		case ok && !IsLockBusy(err):
			// Of the legacy tool one learns no more than that the COMMIT was refused.
			found.Why[name] = strings.TrimSuffix(fmt.Sprintf("the kernel refuses %q: %s", r.Text(k.Family), refused.Reason()), ": ")
			return false, nil
		}
		return false, fmt.Errorf("probe %s: %w", name, err)
	}
	var err error
	if found.Hairpin, err = note("hairpin", ruleset.Rule{Hairpin: true}); err != nil {
		return Capabilities{}, err
	}
	for _, name := range acct {
		if found.Acct[name], err = note(name, ruleset.Rule{Acct: name}); err != nil {
			return Capabilities{}, err
		}
	}
	return found, nil
}

// try loads the rule. The chain is removed in a COMMIT of its own, in the same input: in the same COMMIT the
// legacy tool would not show it to the kernel at all. Its name has a prefix by which the next sync would remove
// it, should we end in between.
func (k *Kernel) try(ctx context.Context, r ruleset.Rule) error {
	if err := r.Validate(k.Family); err != nil {
		return err
	}
	chain := ruleset.PrefixEndpoint + "PROBE-" + rand.Text()[:10]
	text := fmt.Sprintf("*nat\n:%[1]s - [0:0]\n-A %[1]s %[2]s\nCOMMIT\n*nat\n:%[1]s - [0:0]\n-X %[1]s\nCOMMIT\n",
		chain, r.Text(k.Family))
	return k.Restore(ctx, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}
