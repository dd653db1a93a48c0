package iptables_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	goiptables "github.com/coreos/go-iptables/iptables"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/ruleset"
	"espalier/proxier/ruleset/ruletest"
)

// sameRules compares rules with ==, and takes no rules for no rules.
var sameRules = cmp.Options{cmp.Comparer(func(a, b ruleset.Rule) bool { return a == b }), cmpopts.EquateEmpty()}

func nat(name string) ruleset.Chain    { return ruleset.Chain{Table: ruleset.Nat, Name: name} }
func filter(name string) ruleset.Chain { return ruleset.Chain{Table: ruleset.Filter, Name: name} }

func save(t *testing.T, k *iptables.Kernel) ruleset.Saved {
	t.Helper()
	saved, err := k.Save(t.Context(), ruleset.Filter, ruleset.Nat)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// apply brings the kernel to what is wanted, jumps included.
func apply(t *testing.T, k *iptables.Kernel, want ruleset.Ruleset) {
	t.Helper()
	have := save(t, k).Rules
	if _, err := k.Apply(t.Context(), delta.Between(have, want).Attach(have, ruleset.Jumps(), nil)); err != nil {
		t.Fatal(err)
	}
}

// complete adds the chains that the jumps lead to.
func complete(rs ruleset.Ruleset) ruleset.Ruleset {
	for _, j := range ruleset.Jumps() {
		c := ruleset.Chain{Table: j.From.Table, Name: j.To}
		rs[c] = slices.Clip(rs[c])
	}
	return rs
}

// Whatever the kernel makes of our rules, we read back what we wrote, on both backends and in both families; so
// a second sync writes nothing.
func TestTheKernelGivesBackWhatWasWritten(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		g := ruletest.New(seed, k.Family)
		want := complete(g.Ruleset(ruleset.Nat, 60, 5)) // few enough for the netlink buffer in a user namespace
		apply(t, k, want)
		saved := save(t, k)
		if diff := cmp.Diff(want, saved.Owned(), sameRules); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if again := delta.Between(saved.Rules, want).Attach(saved.Rules, ruleset.Jumps(), nil); !again.Empty() {
			t.Errorf("a second batch: %+v", again)
		}
	})
}

// Large sets, so that nf_tables gets them in blocks: from nothing, to others, and away.
func TestLargeBatches(t *testing.T) {
	needLargeBatches(t)
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		for i, chains := range []int{900, 700, 0} {
			want := ruletest.New(seed+uint64(i), k.Family).Ruleset(ruleset.Nat, chains, 3)
			var root []ruleset.Rule
			for c := range want {
				root = append(root, ruleset.Rule{States: ruleset.StateInvalid, Jump: c.Name})
			}
			if k.Family == ipproto.IPv6 || chains == 0 {
				root = nil // not reachable
			} else {
				withoutInputInterface(want)
			}
			want[nat(ruleset.Services)] = root
			apply(t, k, complete(want))
			if diff := cmp.Diff(want, save(t, k).Owned(), sameRules); diff != "" {
				t.Fatalf("step %d (-want +got):\n%s", i, diff)
			}
		}
	})
}

// withoutInputInterface takes out the match that the kernel refuses where OUTPUT leads.
func withoutInputInterface(rs ruleset.Ruleset) {
	for _, rules := range rs {
		for i := range rules {
			rules[i].In, rules[i].NotIn = "", false
		}
	}
}

// kube-proxy checks for each jump with iptables -C, and inserts it a second time if it is not recognised.
func TestOurJumpsAreThoseOfKubeProxy(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		apply(t, k, complete(ruleset.Ruleset{}))
		proto := goiptables.ProtocolIPv4
		if k.Family == ipproto.IPv6 {
			proto = goiptables.ProtocolIPv6
		}
		tool, err := goiptables.New(goiptables.IPFamily(proto), goiptables.Timeout(5), goiptables.Path(k.Command))
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range ruleset.Jumps() {
			var args []string
			if j.Rule.States == ruleset.StateNew {
				args = append(args, "-m", "conntrack", "--ctstate", "NEW")
			}
			if j.Rule.Comment != "" {
				args = append(args, "-m", "comment", "--comment", j.Rule.Comment)
			}
			args = append(args, "-j", j.To)
			there, err := tool.Exists(j.From.Table.String(), j.From.Name, args...)
			if err != nil || !there {
				t.Errorf("-C %s %s: %t, %v", j.From.Name, strings.Join(args, " "), there, err)
			}
		}
	})
}

func TestRestoreKeepsTheCountersOfOthers(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		run(t, k.Command, "-w", "5", "-t", "filter", "-A", "OUTPUT", "-p", "udp", "-j", "ACCEPT")
		lo := map[ipproto.Family]netip.Addr{ipproto.IPv4: netip.MustParseAddr("127.0.0.1"), ipproto.IPv6: netip.IPv6Loopback()}[k.Family]
		for range 3 {
			sendUDP(t, lo, lo)
		}
		apply(t, k, complete(ruleset.Ruleset{}))
		out := run(t, k.SaveCommand, "-c")
		if ok, _ := regexp.MatchString(`\[3:\d+\] -A OUTPUT -p udp -j ACCEPT`, out); !ok {
			t.Errorf("the counters of a foreign rule are gone:\n%s", out)
		}
	})
}

func TestSaveOfAnUntouchedNode(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		saved, err := k.Save(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(saved.Tables) > 0 || len(saved.Rules) > 0 {
			t.Errorf("saved %+v", saved)
		}
	})
}

func TestSaveNamesATableThatOnlyNftCanRead(t *testing.T) {
	enterNamespace(t)
	k := open(t, ipproto.IPv4, iptables.NFT)
	run(t, k.Command, "-t", "nat", "-A", "OUTPUT", "-j", "ACCEPT")
	if err := feedErr("add rule ip nat OUTPUT ct direction original accept\n"); err != nil {
		t.Skipf("needs the nft command: %v", err)
	}
	_, err := k.Save(t.Context(), ruleset.Nat)
	if err == nil || !strings.Contains(err.Error(), "table nat has rules or sets of nft") {
		t.Errorf("error %v", err)
	}
	if _, err := k.Save(t.Context(), ruleset.Filter); err != nil {
		t.Errorf("the filter table: %v", err)
	}
}

func TestRestoreOfNothingStartsNoProcess(t *testing.T) {
	k := &iptables.Kernel{Family: ipproto.IPv4, Backend: iptables.NFT, RestoreCommand: "/does/not/exist"}
	if err := k.Restore(t.Context(), func(io.Writer) error { return nil }); err != nil {
		t.Error(err)
	}
	if _, err := k.Apply(t.Context(), delta.Batch{}); err != nil {
		t.Error(err)
	}
	want := errors.New("cannot be written")
	if err := k.Restore(t.Context(), func(io.Writer) error { return want }); !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	_, err := k.Probe(t.Context())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want that the binary does not exist", err)
	}
}

// An input that breaks off must not be taken for a complete one.
func TestRestoreDoesNotCommitABrokenInput(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		want := errors.New("the source of the rules broke")
		err := k.Restore(t.Context(), func(w io.Writer) error {
			_, _ = io.WriteString(w, "*nat\n:KUBE-SVC-A - [0:0]\n-A KUBE-SVC-A -j ACCEPT\n")
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
		if got := save(t, k).Owned(); len(got) > 0 {
			t.Errorf("chains %v", got)
		}
	})
}

func TestRestoreEndsWithItsContext(t *testing.T) {
	enterNamespace(t)
	k := open(t, ipproto.IPv4, iptables.NFT)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the proxy ends")
	err := k.Restore(ctx, func(w io.Writer) error {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "*nat\n:KUBE-SVC-%d - [0:0]\nCOMMIT\n", i); err != nil {
				return err
			}
			if i == 5 {
				cancel(why)
			}
		}
	})
	if !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
}

// Two tables are two transactions: the first holds although the second is refused.
func TestARefusedTableLeavesTheFirstOneCommitted(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		err := k.Restore(t.Context(), func(w io.Writer) error {
			_, err := io.WriteString(w, "*filter\n:KUBE-FORWARD - [0:0]\nCOMMIT\n*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -j NOPE\nCOMMIT\n")
			return err
		})
		refused, ok := errors.AsType[*iptables.RestoreError](err)
		if !ok || refused.Line != 6 || refused.Text != "-A KUBE-SERVICES -j NOPE" {
			t.Errorf("error %v, want line 6", err)
		}
		if diff := cmp.Diff(ruleset.Ruleset{filter(ruleset.Forward): nil}, save(t, k).Owned(), sameRules); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// The line that the error names is found in an input that is far larger than any buffer.
func TestTheRefusedLineOfALargeInput(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		want := ruletest.New(1, k.Family).Ruleset(ruleset.Nat, 2000, 8)
		bad := ruleset.Rule{Foreign: "-m nosuch -j ACCEPT"}
		c := want.Chains()[1234]
		want[c] = append(want[c], bad)
		_, err := k.Apply(t.Context(), delta.Between(nil, want))
		refused, ok := errors.AsType[*iptables.RestoreError](err)
		if !ok || refused.Text != "-A "+c.Name+" -m nosuch -j ACCEPT" {
			t.Fatalf("error %v, want the rule in %v", err, c)
		}
		if !strings.Contains(err.Error(), "nosuch") {
			t.Errorf("error %q has no reason", err)
		}
	})
}

func TestLockBusy(t *testing.T) {
	enterNamespace(t)
	k := open(t, ipproto.IPv4, iptables.Legacy)
	lock, err := os.Create(os.Getenv("XTABLES_LOCKFILE"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	_, err = k.Apply(t.Context(), delta.Between(nil, ruleset.Ruleset{nat(ruleset.Services): nil}))
	if !iptables.IsLockBusy(err) {
		t.Errorf("IsLockBusy(%v) = false", err)
	}
}

// The match for hairpins takes a packet whose addresses are equal, and no other.
func TestHairpinMatchesEqualAddressesOnly(t *testing.T) {
	addrs := map[ipproto.Family][]netip.Addr{
		ipproto.IPv4: {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")},
		// They differ in one word each.
		ipproto.IPv6: {
			netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::1:0:1"),
			netip.MustParseAddr("fd00:0:1::1"), netip.MustParseAddr("fd01::1"),
		},
	}
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		all := addrs[k.Family]
		for _, a := range all {
			if k.Family == ipproto.IPv6 {
				run(t, "ip", "addr", "add", a.String()+"/128", "dev", "lo", "nodad")
			}
		}
		code := ruleset.Rule{Proto: ipproto.UDP, Hairpin: true}.Text(k.Family)
		feed(t, "*filter\n-A OUTPUT "+code+"\n-A OUTPUT -p udp\nCOMMIT\n", k.RestoreCommand, "-w", "5", "--noflush")
		for _, dst := range all {
			sendUDP(t, all[0], dst)
		}
		out := run(t, k.SaveCommand, "-c")
		counts := map[string]string{}
		for line := range strings.Lines(out) {
			if count, rule, ok := strings.Cut(line, " -A OUTPUT "); ok {
				packets, _, _ := strings.Cut(strings.TrimPrefix(count, "["), ":")
				counts[map[bool]string{true: "hairpin", false: "all"}[strings.Contains(rule, "bytecode")]] = packets
			}
		}
		want := map[string]string{"hairpin": "1", "all": fmt.Sprint(len(all))}
		if diff := cmp.Diff(want, counts); diff != "" {
			t.Errorf("packets (-want +got):\n%s\n%s", diff, out)
		}
	})
}
