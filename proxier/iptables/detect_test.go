package iptables_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/delta"
	"espalier/proxier/generation"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/ruleset"
)

func TestChoose(t *testing.T) {
	const nft, legacy, auto = iptables.NFT, iptables.Legacy, iptables.Auto
	missing := iptables.Found{Missing: "neither is in PATH"}
	hint := func(chain string) iptables.Found { return iptables.Found{Hint: chain} }
	rules := func(kube, all int) iptables.Found { return iptables.Found{Kube: kube, Rules: all} }
	tests := []struct {
		name string
		wish iptables.Backend
		seen iptables.Evidence
		want iptables.Backend
		why  string
		err  string
	}{
		{"a wish is obeyed", legacy, iptables.Evidence{NFT: hint("KUBE-IPTABLES-HINT"), Default: nft}, legacy, "asked for", ""},
		{"unless it is not installed", legacy, iptables.Evidence{Legacy: missing}, auto, "", "backend legacy was asked for, but: neither is in PATH"},
		{"nothing installed", auto, iptables.Evidence{NFT: missing, Legacy: missing}, auto, "", "no iptables on this node: neither is in PATH"},
		{"one installed", auto, iptables.Evidence{NFT: missing, Legacy: rules(0, 0)}, legacy, "the only one installed", ""},
		{"the other installed", auto, iptables.Evidence{Legacy: missing, Default: nft}, nft, "the only one installed", ""},
		{"the kubelet's hint wins over rules", auto, iptables.Evidence{NFT: hint("KUBE-IPTABLES-HINT"), Legacy: rules(9, 99), Default: legacy},
			nft, "the kubelet's chain KUBE-IPTABLES-HINT is there", ""},
		{"an older kubelet's canary too", auto, iptables.Evidence{Legacy: hint("KUBE-KUBELET-CANARY"), NFT: rules(9, 99), Default: nft},
			legacy, "the kubelet's chain KUBE-KUBELET-CANARY is there", ""},
		{"a kubelet that changed sides", auto, iptables.Evidence{
			NFT: iptables.Found{Hint: "KUBE-IPTABLES-HINT", Kube: 3, Rules: 3}, Legacy: iptables.Found{Hint: "KUBE-IPTABLES-HINT", Kube: 40, Rules: 50}, Default: nft,
		}, legacy, "the kubelet's chains are in both, 40 rules in KUBE- chains, the other has 3", ""},
		{"rules of Kubernetes win over more rules", auto, iptables.Evidence{NFT: rules(2, 2), Legacy: rules(0, 50), Default: legacy},
			nft, "2 rules in KUBE- chains, the other has 0", ""},
		{"rules", auto, iptables.Evidence{NFT: rules(0, 0), Legacy: rules(0, 1), Default: nft}, legacy, "1 rules, the other has 0", ""},
		{"a clean node", auto, iptables.Evidence{Default: legacy, DefaultVersion: "iptables v1.8.9 (legacy)"},
			legacy, `no rules to go by, the iptables command is "iptables v1.8.9 (legacy)"`, ""},
		{"a clean node without the plain command", auto, iptables.Evidence{}, nft, "no rules to go by, and no plain iptables command", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, why, err := iptables.Choose(tt.wish, tt.seen)
			if got != tt.want || why != tt.why {
				t.Errorf("%v, %q, want %v, %q", got, why, tt.want, tt.why)
			}
			if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestParseBackend(t *testing.T) {
	for text, want := range map[string]iptables.Backend{"auto": iptables.Auto, "nft": iptables.NFT, "Legacy": iptables.Legacy} {
		if got, err := iptables.ParseBackend(text); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := iptables.ParseBackend("nftables"); err == nil || !strings.Contains(err.Error(), "want auto, nft or legacy") {
		t.Errorf("error %v", err)
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]iptables.Backend{
		"iptables v1.8.9 (nf_tables)":      iptables.NFT,
		"ip6tables-save v1.8.9 (legacy)":   iptables.Legacy,
		"iptables v1.6.2":                  iptables.Legacy,
		"iptables v1.8.9 (something else)": iptables.Auto,
		"BusyBox v1":                       iptables.Legacy, // whatever: Open looks at the numbers
		"":                                 iptables.Auto,
		"iptables":                         iptables.Auto,
	} {
		got, err := iptables.ParseVersion(text)
		if got != want || (err == nil) != (want != iptables.Auto) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

// What a real node shows, and that looking changes nothing.
func TestGather(t *testing.T) {
	load := func(tool, text string) func(*testing.T) {
		return func(t *testing.T) { feed(t, text, tool+"-restore", "-w", "5", "--noflush") }
	}
	const (
		hint = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
		kube = "*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -j RETURN\n-A OUTPUT -j RETURN\nCOMMIT\n"
	)
	tests := []struct {
		name        string
		load        func(*testing.T)
		nft, legacy iptables.Found
	}{
		{"a clean node", func(*testing.T) {}, iptables.Found{}, iptables.Found{}},
		{"the kubelet with nft", load("iptables-nft", hint), iptables.Found{Hint: "KUBE-IPTABLES-HINT"}, iptables.Found{}},
		{"the kubelet with legacy, IPv6", load("ip6tables-legacy", hint), iptables.Found{}, iptables.Found{Hint: "KUBE-IPTABLES-HINT"}},
		{"rules in nft, IPv6", load("ip6tables-nft", kube), iptables.Found{Kube: 1, Rules: 2}, iptables.Found{}},
		{"rules in legacy", load("iptables-legacy", kube), iptables.Found{}, iptables.Found{Kube: 1, Rules: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			enterNamespace(t)
			tt.load(t)
			before := tables(t)
			got, err := iptables.Gather(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got.Default, got.DefaultVersion = 0, "" // of this machine
			if diff := cmp.Diff(iptables.Evidence{NFT: tt.nft, Legacy: tt.legacy}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tables(t)); diff != "" {
				t.Errorf("looking changed the tables (-before +after):\n%s", diff)
			}
		})
	}
}

// tables says which tables exist in the namespace.
func tables(t *testing.T) string {
	t.Helper()
	text := run(t, "nft", "list", "tables")
	for _, name := range []string{"ip_tables_names", "ip6_tables_names"} {
		b, _ := os.ReadFile("/proc/thread-self/net/" + name)
		text += name + ": " + string(b)
	}
	return text
}

func TestDetectOnARealNode(t *testing.T) {
	enterNamespace(t)
	feed(t, "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n", "iptables-legacy-restore", "-w", "5", "--noflush")
	b, why, err := iptables.Detect(t.Context(), iptables.Auto)
	if b != iptables.Legacy || !strings.Contains(why, "KUBE-IPTABLES-HINT") || err != nil {
		t.Errorf("%v, %q, %v", b, why, err)
	}
}

func TestFamilies(t *testing.T) {
	for _, b := range backends {
		t.Run(b.String(), func(t *testing.T) {
			enterNamespace(t)
			for _, u := range iptables.Families(t.Context(), b) {
				if u.Kernel == nil || u.Why != "" || u.Kernel.Family != u.Family {
					t.Errorf("%+v", u)
				}
			}
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
			got := iptables.Families(t.Context(), b)
			if got[0].Kernel == nil || got[0].Family != ipproto.IPv4 {
				t.Errorf("IPv4 without IPv6: %+v", got[0])
			}
			if got[1].Kernel != nil || !strings.Contains(got[1].Why, "disable_ipv6") {
				t.Errorf("IPv6 switched off: %+v", got[1])
			}
		})
	}
}

func TestIPv6Enabled(t *testing.T) {
	const addrs, off = "thread-self/net/if_inet6", "sys/net/ipv6/conf/all/disable_ipv6"
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tests := []struct {
		name string
		proc fstest.MapFS
		err  string
	}{
		{"a usual node", fstest.MapFS{addrs: file("fe80... eth0\n"), off: file("0\n")}, ""},
		{"no address yet", fstest.MapFS{addrs: file(""), off: file("0\n")}, ""},
		{"a kernel without", fstest.MapFS{}, "the kernel has no IPv6"},
		{"switched off", fstest.MapFS{addrs: file(""), off: file("1\n")}, "switched off"},
		{"switched on again for one interface", fstest.MapFS{addrs: file("fe80... eth0\n"), off: file("1\n")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := iptables.IPv6Enabled(tt.proc)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	const v = `echo "iptables v1.8.9 (%s)"`
	version := func(mode string) string { return strings.ReplaceAll(v, "%s", mode) }
	tests := []struct {
		name    string
		scripts map[string]string
		backend iptables.Backend
		family  ipproto.Family
		restore string // base name
		err     string
	}{
		{"binaries with the backend in their names", map[string]string{
			"iptables-nft": version("nf_tables"), "iptables-nft-save": "", "iptables-nft-restore": "", "iptables-restore": version("legacy"),
		}, iptables.NFT, ipproto.IPv4, "iptables-nft-restore", ""},
		{"plain ones of the backend", map[string]string{
			"ip6tables": version("legacy"), "ip6tables-save": version("legacy"), "ip6tables-restore": version("legacy"),
		}, iptables.Legacy, ipproto.IPv6, "ip6tables-restore", ""},
		{"plain ones of the other backend", map[string]string{
			"iptables": version("legacy"), "iptables-save": version("legacy"), "iptables-restore": version("legacy"),
		}, iptables.NFT, ipproto.IPv4, "", `iptables-nft is not in PATH, and iptables is "iptables v1.8.9 (legacy)": install`},
		{"nothing", nil, iptables.Legacy, ipproto.IPv6, "", `neither ip6tables-legacy nor ip6tables is in PATH: install the package "iptables"`},
		{"one of three missing", map[string]string{"iptables": version("nf_tables"), "iptables-save": version("nf_tables")},
			iptables.NFT, ipproto.IPv4, "", "neither iptables-nft-restore nor iptables-restore is in PATH"},
		{"too old", map[string]string{
			"iptables": "echo iptables v1.6.1", "iptables-save": "echo iptables-save v1.6.1", "iptables-restore": "echo iptables-restore v1.6.1",
		}, iptables.Legacy, ipproto.IPv4, "", "1.6.2 or newer is needed"},
		{"broken", map[string]string{"iptables": "echo 'no such library' >&2; exit 127"}, iptables.NFT, ipproto.IPv4, "", "no such library"},
		{"something else", map[string]string{"iptables": "echo hello"}, iptables.NFT, ipproto.IPv4, "", `"hello" is not a version of iptables`},
		{"no backend", nil, iptables.Auto, ipproto.IPv4, "", "no backend chosen"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bin := t.TempDir()
			for name, body := range tt.scripts {
				script(t, bin, name, body)
			}
			t.Setenv("PATH", bin)
			k, err := iptables.Open(t.Context(), tt.family, tt.backend)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if k.RestoreCommand != bin+"/"+tt.restore || k.Version != "1.8.9" {
				t.Errorf("%+v", k)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		got, err := k.Probe(t.Context(), "no_such_object")
		if err != nil {
			t.Fatal(err)
		}
		if !got.Hairpin || got.Acct["no_such_object"] {
			t.Errorf("%+v", got)
		}
		if !strings.Contains(got.Why["no_such_object"], "nfacct") {
			t.Errorf("why not: %q", got.Why["no_such_object"])
		}
		if left := save(t, k).Owned(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// A program in front of iptables-restore plays a kernel that lacks one thing or another.
func TestLacks(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		for _, missing := range append([]iptables.Feature{""}, iptables.Features[:]...) {
			real, dir := *k, t.TempDir()
			text := map[bool]string{true: "-j REJECT", false: "-m " + string(missing)}[missing == iptables.Reject]
			if missing == "" {
				text = "nothing of this kind"
			}
			script(t, dir, "restore", fmt.Sprintf(`input=$(cat)
case "$input" in *%q*) echo "iptables-restore: line 3 failed: No chain/target/match by that name." >&2; exit 1;; esac
printf '%%s\n' "$input" | %s "$@"`, text, k.RestoreCommand))
			real.RestoreCommand = dir + "/restore"
			got, err := real.Lacks(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			why, lacks := got[missing]
			if len(got) > 1 || lacks != (missing != "") || lacks && !strings.Contains(why, "No chain/target/match") {
				t.Errorf("without %q it lacks %v", missing, got)
			}
		}
		if left := save(t, k).Owned(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestLacksOfABrokenKernelIsAnError(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "restore", `echo "iptables-restore: line 3 failed" >&2; exit 1`)
	k := &iptables.Kernel{Family: ipproto.IPv4, Backend: iptables.NFT, RestoreCommand: dir + "/restore"}
	if got, err := k.Lacks(t.Context()); err == nil {
		t.Errorf("it lacks %v, want an error: nothing can be loaded at all", got)
	}
}

func TestProbeOfWhatStandsThereWritesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, k *iptables.Kernel) {
		if k.Backend != iptables.NFT {
			return // nobody could tell
		}
		chain := ruleset.Chain{Table: ruleset.Nat, Name: ruleset.Postrouting}
		batch := delta.Batch{
			Write: ruleset.Ruleset{chain: {{Hairpin: true, Jump: ruleset.Return}}},
			New:   map[ruleset.Chain]bool{chain: true},
		}
		if _, err := k.Apply(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		look, err := generation.OpenNFT()
		if err != nil {
			t.Fatal(err)
		}
		defer look.Close()
		before, err := look.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Probe(t.Context())
		if err != nil || !got.Hairpin {
			t.Errorf("%+v, %v; want the hairpin match", got, err)
		}
		if after, err := look.Read(t.Context()); err != nil || after != before {
			t.Errorf("%v before, %v after, %v; want no commit", before, after, err)
		}
	})
}
