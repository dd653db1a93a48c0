package delta_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/iptables/iptablestest"
	"espalier/proxier/ruleset"
	"espalier/proxier/ruleset/ruletest"
)

// sameRules compares rules with ==, and takes no rules for no rules.
var sameRules = cmp.Options{cmp.Comparer(func(a, b ruleset.Rule) bool { return a == b }), cmpopts.EquateEmpty()}

func nat(name string) ruleset.Chain    { return ruleset.Chain{Table: ruleset.Nat, Name: name} }
func filter(name string) ruleset.Chain { return ruleset.Chain{Table: ruleset.Filter, Name: name} }

// random returns rules as a plan has them: two tables, each with a root that reaches most of its chains.
func random(g ruletest.Gen, chains int) ruleset.Ruleset {
	rs := ruleset.Ruleset{}
	for _, t := range []ruleset.Table{ruleset.Filter, ruleset.Nat} {
		part := g.Ruleset(t, chains, 5)
		var root []ruleset.Rule
		for _, c := range part.Chains() {
			if g.Rand.IntN(4) > 0 {
				root = append(root, ruleset.Rule{Jump: c.Name})
			}
		}
		maps.Copy(rs, part)
		rs[ruleset.Chain{Table: t, Name: ruleset.Services}] = root
	}
	for _, j := range ruleset.Jumps() {
		c := ruleset.Chain{Table: j.From.Table, Name: j.To}
		if _, ok := rs[c]; !ok {
			rs[c] = nil
		}
	}
	return rs
}

// changed returns rules that share part of their chains with the others: some content is new, some chains are
// gone, others are there instead.
func changed(g ruletest.Gen, old ruleset.Ruleset, chains int) ruleset.Ruleset {
	rs := random(g, chains)
	roots := maps.Clone(rs)
	for _, c := range old.Chains() {
		if !ruleset.PerService(c.Name) || g.Rand.IntN(3) == 0 {
			continue
		}
		rules := old[c]
		if g.Rand.IntN(3) == 0 {
			rules = append(slices.Clone(rules), g.Rule())
		}
		rs[c] = rules
		root := ruleset.Chain{Table: c.Table, Name: ruleset.Services}
		roots[root] = append(slices.Clone(roots[root]), ruleset.Rule{Jump: c.Name})
	}
	for c, rules := range roots {
		rs[c] = rules
	}
	// A kept chain may refer to one that was not kept.
	for c, rules := range rs {
		kept := slices.DeleteFunc(slices.Clone(rules), func(r ruleset.Rule) bool {
			name, ok := r.JumpsTo()
			_, there := rs[ruleset.Chain{Table: c.Table, Name: name}]
			return ok && !there
		})
		rs[c] = kept
	}
	return rs
}

func owned(rs ruleset.Ruleset) ruleset.Ruleset { return ruleset.Saved{Rules: rs}.Owned() }

func TestApplyBetweenIsWanted(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(100) {
		g := ruletest.New(seed+i, ipproto.IPv4)
		have := random(g, g.Rand.IntN(20))
		want := changed(g, have, g.Rand.IntN(20))
		have[nat("PREROUTING")] = []ruleset.Rule{{Foreign: "-p icmp -j ACCEPT", Jump: "ACCEPT"}}
		b := delta.Between(have, want)
		got := delta.Apply(have, b)
		if diff := cmp.Diff(want, owned(got), sameRules); diff != "" {
			t.Fatalf("run %d: Apply(have, Between(have, want)) (-want +got):\n%s", i, diff)
		}
		if len(got[nat("PREROUTING")]) != 1 {
			t.Errorf("run %d: a rule of others is gone", i)
		}
		if again := delta.Between(got, want); !again.Empty() {
			t.Fatalf("run %d: a second batch has %v", i, again)
		}
	}
}

// The kernel gets there too, with both strategies, and whatever a packet can reach is whole at every moment.
func TestEveryCommitLeavesWholeChains(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(20) {
		for _, backend := range []iptables.Backend{iptables.Legacy, iptables.NFT} {
			g := ruletest.New(seed+i, ipproto.Families[i%2])
			k := iptablestest.New(g.Family, backend)
			first := random(g, 12)
			second := changed(g, first, 12)
			for step, want := range []ruleset.Ruleset{first, second, first} {
				walk(t, k, want, fmt.Sprintf("run %d, backend %v, step %d", i, backend, step))
			}
		}
	}
}

// walk brings the kernel to what is wanted and looks at it after each COMMIT.
func walk(t *testing.T, k *iptablestest.Kernel, want ruleset.Ruleset, name string) {
	t.Helper()
	have := k.Rules()
	b := delta.Between(have, want).Attach(have, ruleset.Jumps(), nil)
	commits := 0
	k.Committed = func(now ruleset.Ruleset) {
		commits++
		for c := range reachable(now) {
			switch rules := now[c]; {
			case ruleset.BuiltIn(c.Name):
			case same(rules, want[c]) || same(rules, have[c]):
			default:
				t.Errorf("%s, COMMIT %d: chain %v is half written: %v", name, commits, c, rules)
			}
			if _, ok := have[c]; !ok && !same(now[c], want[c]) {
				t.Errorf("%s, COMMIT %d: packets reach the new chain %v before it is complete", name, commits, c)
			}
		}
	}
	err := k.Restore(t.Context(), func(w io.Writer) error {
		return b.EncodeInBlocks(w, k.Family, k.Backend.Strategy(), 4)
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if diff := cmp.Diff(want, owned(k.Rules()), sameRules); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", name, diff)
	}
	if again := delta.Between(k.Rules(), want).Attach(k.Rules(), ruleset.Jumps(), nil); !again.Empty() {
		t.Fatalf("%s: a second batch is not empty", name)
	}
	if k.Backend == iptables.Legacy && commits > 2 {
		t.Errorf("%s: %d COMMITs for two tables", name, commits)
	}
}

func same(a, b []ruleset.Rule) bool { return slices.Equal(a, b) }

// reachable returns the chains that a packet can get to.
func reachable(rs ruleset.Ruleset) map[ruleset.Chain]bool {
	seen := map[ruleset.Chain]bool{}
	var visit func(ruleset.Chain)
	visit = func(c ruleset.Chain) {
		if seen[c] {
			return
		}
		seen[c] = true
		for _, r := range rs[c] {
			if name, ok := r.JumpsTo(); ok {
				visit(ruleset.Chain{Table: c.Table, Name: name})
			}
		}
	}
	for c := range rs {
		if ruleset.BuiltIn(c.Name) {
			visit(c)
		}
	}
	return seen
}

func TestEqualBatchesGiveEqualText(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := ruletest.New(seed, ipproto.IPv6)
	have := random(g, 400)
	want := changed(g, have, 400)
	for _, s := range []delta.Strategy{delta.Legacy, delta.NFT} {
		var texts [][]byte
		for range 5 {
			// Maps in another order, and a batch that was computed anew.
			text, err := delta.Between(maps.Clone(have), maps.Clone(want)).Attach(have, ruleset.Jumps(), nil).Text(g.Family, s)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
		for _, text := range texts[1:] {
			if !bytes.Equal(text, texts[0]) {
				t.Errorf("%v: two texts of one change differ", s)
			}
		}
	}
}

// What we write from scratch is read back as what was wanted.
func TestTextReadsAsWanted(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := ruletest.New(seed, ipproto.IPv4)
	want := random(g, 600)
	for _, s := range []delta.Strategy{delta.Legacy, delta.NFT} {
		text, err := delta.Between(nil, want).Attach(nil, ruleset.Jumps(), nil).Text(g.Family, s)
		if err != nil {
			t.Fatal(err)
		}
		saved, err := ruleset.Parse(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, saved.Owned(), sameRules); diff != "" {
			t.Errorf("%v (-want +got):\n%s", s, diff)
		}
		for _, j := range ruleset.Jumps() {
			if !slices.Contains(saved.Rules[j.From], j.Rule) {
				t.Errorf("%v: no jump from %v to %s", s, j.From, j.To)
			}
		}
	}
}

// Dismantle takes chains away whether they are there or not, in any number of COMMITs.
func TestDismantle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := ruletest.New(seed, ipproto.IPv4)
	trial := g.Ruleset(ruleset.Nat, 30, 5)
	for _, backend := range []iptables.Backend{iptables.Legacy, iptables.NFT} {
		k := iptablestest.New(g.Family, backend)
		before := k.Rules()
		half := maps.Clone(trial)
		for i := range 15 { // the first refer to later ones, and nothing refers to them then
			for c := range trial {
				if strings.Contains(c.Name, fmt.Sprintf("-%04d-", i)) {
					delete(half, c)
				}
			}
		}
		for _, rs := range []ruleset.Ruleset{trial, half, nil} {
			if _, err := k.Apply(t.Context(), delta.Between(nil, rs)); err != nil {
				t.Fatal(err)
			}
			err := k.Restore(t.Context(), func(w io.Writer) error {
				return delta.Dismantle(trial).EncodeInBlocks(w, k.Family, backend.Strategy(), 4)
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, k.Rules(), sameRules); diff != "" {
				t.Errorf("%v (-before +after):\n%s", backend, diff)
			}
		}
	}
}
