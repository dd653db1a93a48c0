package iptables_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/ruleset"
	"espalier/proxier/ruleset/ruletest"
)

const (
	// What the kubelet makes.
	kubelet = `*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*nat
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*filter
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-FIREWALL - [0:0]
-I OUTPUT -j KUBE-FIREWALL
-I INPUT -j KUBE-FIREWALL
COMMIT
`
	// What kube-proxy has beside its rules.
	canaries = `*mangle
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*nat
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*filter
:KUBE-PROXY-CANARY - [0:0]
COMMIT
`
	// Rules of somebody else.
	foreign = `*filter
:SOMEBODY - [0:0]
-A INPUT -p icmp -m comment --comment "somebody's rule" -j ACCEPT
-A FORWARD -j SOMEBODY
COMMIT
*nat
-A POSTROUTING -s 10.9.9.0 -o eth9 -j MASQUERADE
COMMIT
`
)

// kubeProxy returns the payload of kube-proxy that package ruleset reads in its tests, with its jumps.
func kubeProxy(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../ruleset/testdata/kube-proxy.rules")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, table := range []ruleset.Table{ruleset.Filter, ruleset.Nat} {
		text += "*" + table.String() + "\n"
		for _, j := range ruleset.Jumps() {
			if j.From.Table == table && j.To != ruleset.Firewall {
				text += "-I " + j.From.Name + " " + string(j.Append(nil, ipproto.IPv4)) + "\n"
			}
		}
		text += "COMMIT\n"
	}
	return text
}

// rulesOf returns what iptables-save prints, without remarks and counters, in an order of its own.
func rulesOf(t *testing.T, k *iptables.Kernel) []string {
	t.Helper()
	var lines []string
	table := ""
	for line := range strings.Lines(run(t, k.SaveCommand)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			if !ruleset.BuiltIn(name) {
				lines = append(lines, table+" "+name)
			}
		case strings.HasPrefix(line, "-"):
			lines = append(lines, table+" "+line)
		}
	}
	slices.Sort(lines)
	return lines
}

func load(t *testing.T, k *iptables.Kernel, text string) {
	t.Helper()
	feed(t, text, k.RestoreCommand, "-w", "5", "--noflush")
}

// kube-proxy's rules, of both backends at once, go; the rules of the kubelet and of others stay.
func TestCleanupAfterKubeProxy(t *testing.T) {
	for _, b := range backends {
		t.Run(b.String(), func(t *testing.T) {
			enterNamespace(t)
			k4, k6 := open(t, ipproto.IPv4, b), open(t, ipproto.IPv6, b)
			load(t, k4, kubelet)
			load(t, k4, "*filter\n-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\nCOMMIT\n")
			load(t, k4, foreign)
			load(t, k6, kubelet)
			before4, before6 := rulesOf(t, k4), rulesOf(t, k6)
			load(t, k4, kubeProxy(t)+canaries)
			load(t, k6, canaries)

			all, err := iptables.Cleanup(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before4, rulesOf(t, k4)); diff != "" {
				t.Errorf("IPv4 (-before kube-proxy +after cleanup):\n%s", diff)
			}
			if diff := cmp.Diff(before6, rulesOf(t, k6)); diff != "" {
				t.Errorf("IPv6 (-before kube-proxy +after cleanup):\n%s", diff)
			}
			got := of(all, ipproto.IPv4, b)
			want := iptables.Cleaned{Family: ipproto.IPv4, Backend: b, Jumps: 12, Chains: 19, Rules: 38}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}

			again, err := iptables.Cleanup(t.Context())
			if err != nil || of(again, ipproto.IPv4, b).Chains > 0 {
				t.Errorf("a second time: %v, %v", again, err)
			}
		})
	}
}

func of(all []iptables.Cleaned, f ipproto.Family, b iptables.Backend) iptables.Cleaned {
	for _, c := range all {
		if c.Family == f && c.Backend == b {
			return c
		}
	}
	return iptables.Cleaned{}
}

// Our own rules, dispatch trees in both tables, large, in both families and backends of one node.
func TestCleanupAfterUs(t *testing.T) {
	needLargeBatches(t)
	enterNamespace(t)
	var kernels []*iptables.Kernel
	for _, b := range backends {
		for _, f := range ipproto.Families {
			k := open(t, f, b)
			want := complete(ruletest.New(7, f).Ruleset(ruleset.Nat, 700, 3))
			want[filter(ruleset.Services)] = []ruleset.Rule{{States: ruleset.StateNew, Jump: "KUBE-SVC-TREE"}}
			want[filter("KUBE-SVC-TREE")] = []ruleset.Rule{{Jump: ruleset.Reject}}
			apply(t, k, want)
			kernels = append(kernels, k)
		}
	}
	if _, err := iptables.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels {
		want := []string{"filter -A INPUT -j KUBE-FIREWALL", "filter -A OUTPUT -j KUBE-FIREWALL", "filter KUBE-FIREWALL"}
		if diff := cmp.Diff(want, rulesOf(t, k)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", k, diff)
		}
	}
}

// A rule of somebody else that jumps to one of the chains keeps it, empty; it is named, and the rest goes.
func TestCleanupNamesARuleThatHoldsAChain(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		apply(t, k, complete(ruleset.Ruleset{
			nat("KUBE-SVC-AAAA"): {{Jump: ruleset.Return}},
			nat("KUBE-SVC-BBBB"): {{Jump: ruleset.Return}},
		}))
		load(t, k, "*nat\n-A PREROUTING -p tcp -m tcp --sport 7 -j KUBE-SVC-AAAA\nCOMMIT\n")
		all, err := iptables.Cleanup(t.Context())
		held, ok := errors.AsType[*iptables.HeldError](err)
		if !ok || held.To != nat("KUBE-SVC-AAAA") || held.From != nat("PREROUTING") {
			t.Fatalf("error %v, want a *HeldError", err)
		}
		for _, s := range []string{"nat/KUBE-SVC-AAAA", k.Family.String(), k.Backend.String(), "-A PREROUTING -p tcp -m tcp --sport 7 -j KUBE-SVC-AAAA"} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("error %q does not name %q", err, s)
			}
		}
		if c := of(all, k.Family, k.Backend); c.Jumps != 12 || c.Err == nil {
			t.Errorf("report %+v", c)
		}
		want := []string{
			"filter -A INPUT -j KUBE-FIREWALL", "filter -A OUTPUT -j KUBE-FIREWALL", "filter KUBE-FIREWALL",
			"nat -A PREROUTING -p tcp -m tcp --sport 7 -j KUBE-SVC-AAAA", "nat KUBE-SVC-AAAA",
		}
		if diff := cmp.Diff(want, rulesOf(t, k)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestCleanupSkipsWhatIsNotThere(t *testing.T) {
	enterNamespace(t)
	all, err := iptables.Cleanup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Chains+c.Jumps > 0 || c.Backend == iptables.Legacy && c.Skipped != "the kernel has no legacy tables" {
			t.Errorf("%+v", c)
		}
	}
	t.Setenv("PATH", t.TempDir())
	all, err = iptables.Cleanup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := of(all, ipproto.IPv4, iptables.NFT); !strings.Contains(c.Skipped, "neither iptables-nft nor iptables is in PATH") {
		t.Errorf("without binaries: %+v", c)
	}
}

// What fails in one family does not keep the other from being cleaned.
func TestCleanupGoesOnAfterAnError(t *testing.T) {
	enterNamespace(t)
	k6 := open(t, ipproto.IPv6, iptables.NFT)
	apply(t, k6, complete(ruleset.Ruleset{}))
	bin := t.TempDir()
	for _, name := range []string{"ip6tables-nft", "ip6tables-nft-save", "ip6tables-nft-restore", "iptables-nft", "iptables-nft-restore"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	script(t, bin, "iptables-nft-save", "echo 'broken on purpose' >&2; exit 1")
	t.Setenv("PATH", bin)
	all, err := iptables.Cleanup(t.Context())
	if err == nil || !strings.Contains(err.Error(), "broken on purpose") {
		t.Errorf("error %v", err)
	}
	if c := of(all, ipproto.IPv6, iptables.NFT); c.Err != nil || c.Jumps != 12 {
		t.Errorf("IPv6: %+v", c)
	}
}

func TestCleanedReadsAsASentence(t *testing.T) {
	tests := []struct {
		c    iptables.Cleaned
		want string
	}{
		{iptables.Cleaned{Family: ipproto.IPv4, Backend: iptables.NFT, Jumps: 12, Chains: 3, Rules: 40}, "ipv4 (nft): removed 12 jumps and 3 chains with 40 rules"},
		{iptables.Cleaned{Family: ipproto.IPv6, Backend: iptables.Legacy}, "ipv6 (legacy): nothing to remove"},
		{iptables.Cleaned{Family: ipproto.IPv6, Backend: iptables.Legacy, Skipped: "no tables"}, "ipv6 (legacy): skipped: no tables"},
		{iptables.Cleaned{Family: ipproto.IPv4, Backend: iptables.NFT, Err: errors.New("x")}, "ipv4 (nft): x"},
	}
	for _, tt := range tests {
		if got := tt.c.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
