package iptables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// Cleaned is what Cleanup did to one family of one backend.
type Cleaned struct {
	Family  ipproto.Family
	Backend Backend
	// Jumps, Chains and Rules count what was removed; Rules are those in the chains.
	Jumps, Chains, Rules int
	// Held are rules of others that jump to chains of ours: these chains are empty now, and stay.
	Held []delta.Reference
	// Skipped says why nothing was looked at; empty otherwise.
	Skipped string
	Err     error
}

// String says it in one line.
func (c Cleaned) String() string {
	where := fmt.Sprintf("%v (%v): ", c.Family, c.Backend)
	switch {
	case c.Err != nil:
		return where + c.Err.Error()
	case c.Skipped != "":
		return where + "skipped: " + c.Skipped
	case c.Jumps+c.Chains == 0:
		return where + "nothing to remove"
	}
	return where + fmt.Sprintf("removed %d jumps and %d chains with %d rules", c.Jumps, c.Chains, c.Rules)
}

// HeldError says that a rule of somebody else kept a chain from being removed.
type HeldError struct {
	Family  ipproto.Family
	Backend Backend
	delta.Reference
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("chain %v (%v, %v) is empty but stays, because a rule of somebody else jumps to it: -A %s %s",
		e.To, e.Family, e.Backend, e.From.Name, e.Rule.Text(e.Family))
}

// Cleanup removes all that a Service proxy in iptables mode left on the node, ours or kube-proxy's, in both
// backends and both families; see delta.Removal for what stays. It goes on after an error. The error is that of
// all parts, with a *HeldError for each rule that kept a chain. A backend without binaries is skipped, and so is
// the legacy one where the kernel has no tables of it; a node without any iptables has nothing to clean up.
func Cleanup(ctx context.Context) ([]Cleaned, error) {
	var all []Cleaned
	var errs []error
	for _, b := range []Backend{NFT, Legacy} {
		for _, f := range ipproto.Families {
			c := cleanup(ctx, f, b)
			all = append(all, c)
			if c.Err != nil {
				errs = append(errs, fmt.Errorf("clean up %v (%v): %w", f, b, c.Err))
			}
		}
	}
	return all, errors.Join(errs...)
}

func cleanup(ctx context.Context, f ipproto.Family, b Backend) Cleaned {
	c := Cleaned{Family: f, Backend: b}
	if b == Legacy {
		used, err := legacyInUse(f)
		if err != nil || !used {
			c.Skipped, c.Err = "the kernel has no legacy tables", err
			return c
		}
	}
	k, err := Open(ctx, f, b)
	if isMissing(err) {
		c.Skipped = err.Error()
		return c
	}
	if err == nil {
		err = c.remove(ctx, k)
	}
	c.Err = err
	return c
}

// remove cleans up through k. Somebody may change rules between the reading and the writing, which makes the
// removal of a jump fail; so it reads again, a few times.
func (c *Cleaned) remove(ctx context.Context, k *Kernel) error {
	var err error
	for range 3 {
		var saved ruleset.Saved
		saved, err = k.Save(ctx)
		if err != nil {
			return err
		}
		b := delta.Removal(saved.Rules)
		c.Held = b.Held
		if _, err = k.Apply(ctx, b); err != nil {
			continue
		}
		c.Jumps += len(b.Unjump)
		c.Chains += len(b.Delete)
		for _, chain := range b.Delete {
			c.Rules += len(saved.Rules[chain])
		}
		return c.held()
	}
	return err
}

// held makes errors of what was held.
func (c *Cleaned) held() error {
	var errs []error
	for _, ref := range c.Held {
		errs = append(errs, &HeldError{Family: c.Family, Backend: c.Backend, Reference: ref})
	}
	return errors.Join(errs...)
}

// Summary says in a few lines what Cleanup did.
func Summary(all []Cleaned) string {
	var b strings.Builder
	for _, c := range all {
		fmt.Fprintln(&b, c)
	}
	return b.String()
}
