// Package iptablestest is a kernel without a kernel: it takes restore input as iptables-restore --noflush does,
// one transaction at each COMMIT, and refuses what that refuses. It is for tests of what writes rules.
//
// It knows no packets and no counters. Its lock is never busy unless a test says so with Refuse.
package iptablestest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/ruleset"
)

// Kernel holds the rules of one family. Make it with New.
type Kernel struct {
	Family  ipproto.Family
	Backend iptables.Backend
	// Refuse, if set, is asked for each line; an error refuses it.
	Refuse func(line string) error
	// Committed, if set, sees the rules after each COMMIT.
	Committed func(ruleset.Ruleset)

	mu    sync.Mutex
	rules ruleset.Ruleset
}

// New returns a kernel that has the built-in chains and nothing else.
func New(f ipproto.Family, b iptables.Backend) *Kernel {
	rules := ruleset.Ruleset{}
	for table, chains := range map[ruleset.Table]string{
		ruleset.Mangle: "PREROUTING INPUT FORWARD OUTPUT POSTROUTING",
		ruleset.Filter: "INPUT FORWARD OUTPUT",
		ruleset.Nat:    "PREROUTING INPUT OUTPUT POSTROUTING",
	} {
		for name := range strings.FieldsSeq(chains) {
			rules[ruleset.Chain{Table: table, Name: name}] = nil
		}
	}
	return &Kernel{Family: f, Backend: b, rules: rules}
}

// Rules returns what the kernel has.
func (k *Kernel) Rules() ruleset.Ruleset {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.rules)
}

// Apply is iptables.Kernel.Apply.
func (k *Kernel) Apply(ctx context.Context, b delta.Batch) (written delta.Written, err error) {
	if b.Empty() {
		return written, nil
	}
	err = k.Restore(ctx, func(w io.Writer) (err error) {
		written, err = b.Encode(w, k.Family, k.Backend.Strategy())
		return err
	})
	return written, err
}

// Restore is iptables.Kernel.Restore.
func (k *Kernel) Restore(_ context.Context, write func(io.Writer) error) error {
	var in bytes.Buffer
	if err := write(&in); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	tx := transaction{}
	lines := bufio.NewScanner(&in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		err := k.line(&tx, line)
		if err != nil {
			return &iptables.RestoreError{
				Family: k.Family, Backend: k.Backend, Line: n, Text: line, Exit: 1, Stderr: err.Error(),
			}
		}
	}
	return lines.Err()
}

// transaction is what stands between *TABLE and COMMIT.
type transaction struct {
	table ruleset.Table
	open  bool
	rules ruleset.Ruleset
}

func (k *Kernel) line(tx *transaction, line string) error {
	if k.Refuse != nil {
		if err := k.Refuse(line); err != nil {
			return err
		}
	}
	if name, ok := strings.CutPrefix(line, "*"); ok {
		t, known := ruleset.ParseTable(name)
		if !known || tx.open {
			return fmt.Errorf("table %q is unknown, or in another one", name)
		}
		*tx = transaction{table: t, open: true, rules: maps.Clone(k.rules)}
		return nil
	}
	if !tx.open {
		return fmt.Errorf("%q outside of a table", line)
	}
	if line == "COMMIT" {
		if err := tx.check(); err != nil {
			return err
		}
		k.rules = tx.rules
		tx.open = false
		if k.Committed != nil {
			k.Committed(k.rules)
		}
		return nil
	}
	return tx.command(line)
}

func (tx *transaction) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	if name, ok := strings.CutPrefix(verb, ":"); ok {
		c := ruleset.Chain{Table: tx.table, Name: name}
		if !ruleset.BuiltIn(name) {
			tx.rules[c] = nil
		}
		return c.Validate()
	}
	name, spec, _ := strings.Cut(rest, " ")
	c := ruleset.Chain{Table: tx.table, Name: name}
	have, there := tx.rules[c]
	if !there {
		return fmt.Errorf("no chain %v", c)
	}
	if verb == "-X" {
		if len(have) > 0 {
			return fmt.Errorf("chain %v has rules", c)
		}
		delete(tx.rules, c)
		return nil
	}
	rule, err := readRule(spec)
	if err != nil {
		return err
	}
	switch verb {
	case "-A":
		tx.rules[c] = append(slices.Clip(have), rule)
	case "-I":
		tx.rules[c] = append([]ruleset.Rule{rule}, have...)
	case "-D":
		i := slices.Index(have, rule)
		if i < 0 {
			return fmt.Errorf("bad rule (does a matching rule exist in chain %v?)", c)
		}
		tx.rules[c] = slices.Delete(slices.Clone(have), i, i+1)
	default:
		return fmt.Errorf("unknown command %q", verb)
	}
	return nil
}

func readRule(spec string) (ruleset.Rule, error) {
	c := ruleset.Chain{Table: ruleset.Filter, Name: "X"}
	saved, err := ruleset.Parse(strings.NewReader("*filter\n:X - [0:0]\n-A X " + spec + "\nCOMMIT\n"))
	if err != nil {
		return ruleset.Rule{}, err
	}
	return saved.Rules[c][0], nil
}

// check refuses jumps to chains that are not there. (The kernel refuses loops too, but nothing here makes any.)
func (tx *transaction) check() error {
	for c, rules := range tx.rules {
		if c.Table != tx.table {
			continue
		}
		for _, r := range rules {
			name, ok := r.JumpsTo()
			if _, there := tx.rules[ruleset.Chain{Table: c.Table, Name: name}]; ok && r.Foreign == "" && !there {
				return fmt.Errorf("chain %v refers to %s, which does not exist", c, name)
			}
		}
	}
	return nil
}
