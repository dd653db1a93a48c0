package iptables

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"slices"
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

// Probe finds out what the kernel can match. What rules of a proxy use that stand there already needs no proof, so
// that a restart writes nothing. The rest is loaded into a scratch chain of the nat table, which is removed again:
// all at once, and one by one only if that is refused. acct are the names of nfacct objects to try. An error means
// that not even an empty chain can be made.
//
// A rule is really loaded because iptables-restore --test passes what the kernel then refuses.
func (k *Kernel) Probe(ctx context.Context, acct ...string) (Capabilities, error) {
	found := Capabilities{Acct: map[string]bool{}, Why: map[string]string{}}
	k.proven(ctx, &found)
	missing := map[string]ruleset.Rule{}
	if !found.Hairpin {
		missing[hairpin] = ruleset.Rule{Hairpin: true}
	}
	for _, name := range acct {
		if !found.Acct[name] {
			missing[name] = ruleset.Rule{Acct: name}
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	names := slices.Sorted(maps.Keys(missing))
	if k.try(ctx, ruleset.Nat, slices.Collect(maps.Values(missing))...) == nil {
		for _, name := range names {
			found.note(name)
		}
		return found, nil
	}
	if err := k.try(ctx, ruleset.Nat, ruleset.Rule{Comment: "probe"}); err != nil {
		return Capabilities{}, fmt.Errorf("load a rule into a scratch chain: %w", err)
	}
	for _, name := range names {
		why, err := k.refused(ctx, ruleset.Nat, missing[name])
		if err != nil {
			return Capabilities{}, fmt.Errorf("probe %s: %w", name, err)
		}
		if why != "" {
			found.Why[name] = why
			continue
		}
		found.note(name)
	}
	return found, nil
}

// hairpin is the name of that match among the things to probe; no nfacct object is called so.
const hairpin = "hairpin"

func (c *Capabilities) note(name string) {
	if name == hairpin {
		c.Hairpin = true
		return
	}
	c.Acct[name] = true
}

// proven notes what rules use that are in the kernel. A chain that is not there proves nothing.
func (k *Kernel) proven(ctx context.Context, found *Capabilities) {
	for _, c := range []ruleset.Chain{{Table: ruleset.Nat, Name: ruleset.Postrouting}, {Table: ruleset.Filter, Name: ruleset.Forward}} {
		rules, err := k.list(ctx, c)
		if err != nil {
			continue
		}
		for _, r := range rules {
			found.Hairpin = found.Hairpin || r.Hairpin
			if r.Acct != "" {
				found.Acct[r.Acct] = true
			}
		}
	}
}

// list returns the rules of one chain, which with nft does not depend on how many others there are.
func (k *Kernel) list(ctx context.Context, c ruleset.Chain) ([]ruleset.Rule, error) {
	text := bytes.NewBufferString("*" + c.Table.String() + "\n:" + c.Name + " - [0:0]\n")
	err := read(ctx, k.Command, []string{"-w", lockWait, "-t", c.Table.String(), "-S", c.Name}, func(r io.Reader) error {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "-A ") {
				text.WriteString(lines.Text() + "\n")
			}
		}
		return lines.Err()
	})
	if err != nil {
		return nil, err
	}
	text.WriteString("COMMIT\n")
	saved, err := ruleset.Parse(text)
	return saved.Rules[c], err
}

// try loads the rules. The chain is removed in a COMMIT of its own, in the same input: in the same COMMIT the
// legacy tool would not show it to the kernel at all. Its name has a prefix by which the next sync would remove
// it, should we end in between.
func (k *Kernel) try(ctx context.Context, t ruleset.Table, rules ...ruleset.Rule) error {
	chain := ruleset.PrefixEndpoint + "PROBE-" + rand.Text()[:10]
	var text strings.Builder
	fmt.Fprintf(&text, "*%v\n:%s - [0:0]\n", t, chain)
	for _, r := range rules {
		if err := r.Validate(k.Family); err != nil {
			return err
		}
		fmt.Fprintf(&text, "-A %s %s\n", chain, r.Text(k.Family))
	}
	fmt.Fprintf(&text, "COMMIT\n*%[1]v\n:%[2]s - [0:0]\n-X %[2]s\nCOMMIT\n", t, chain)
	return k.Restore(ctx, func(w io.Writer) error {
		_, err := io.WriteString(w, text.String())
		return err
	})
}
