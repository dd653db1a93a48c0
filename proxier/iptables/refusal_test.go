package iptables_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
)

var capture = flag.Bool("capture", false, "write testdata/refusals.txtar anew from the tools of this machine (as root)")

// What is wrong, the input, and which line is to blame, by the number that each backend names (the number of the
// line that RestoreError then shows, if that is another one, in nftMeans).
var refusals = []struct {
	name     string
	input    string
	nft      int
	legacy   int
	nftMeans int
}{
	{"a jump to a chain that is not there", "*nat\n:A - [0:0]\n-A A -j ACCEPT\n-A A -p tcp -j NOPE\n-A A -j NOPE\nCOMMIT\n", 6, 4, 4},
	{"an address that is none", "*nat\n:A - [0:0]\n-A A -d 1.2.3.400 -j ACCEPT\nCOMMIT\n", 3, 3, 0},
	{"a match that is not known", "*nat\n:A - [0:0]\n-A A -m nosuch -j ACCEPT\nCOMMIT\n", 3, 3, 0},
	{"an option that is not known", "*nat\n:A - [0:0]\n-A A -j ACCEPT --nosuch\nCOMMIT\n", 3, 3, 0},
	{"a DNAT to nowhere", "*nat\n:A - [0:0]\n-A A -p tcp -j DNAT --to-destination x\nCOMMIT\n", 3, 3, 0},
	{"a match that the kernel refuses", "*filter\n:A - [0:0]\n-A A -m nfacct --nfacct-name foo\nCOMMIT\n", 3, 4, 0},
	{"a target in the wrong table", "*filter\n:A - [0:0]\n-A A -j MASQUERADE\nCOMMIT\n", 3, 4, 0},
	{"a rule in a chain that is not there", "*nat\n-A NOCHAIN -j ACCEPT\nCOMMIT\n", 2, 2, 0},
	{"a name that is too long", "*nat\n:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA - [0:0]\nCOMMIT\n", 2, 2, 0},
	{"deletion of a chain that is in use", "*nat\n:A - [0:0]\n:B - [0:0]\n-A A -j B\nCOMMIT\n*nat\n:B - [0:0]\n-X B\nCOMMIT\n", 8, 8, 0},
	{"deletion of a chain that is not there", "*nat\n-X NOCHAIN\nCOMMIT\n", 2, 2, 0},
	{"deletion of a rule that is not there", "*nat\n-D OUTPUT -j ACCEPT\nCOMMIT\n", 2, 2, 0},
	{"a loop", "*nat\n:A - [0:0]\n:B - [0:0]\n-A A -j B\n-A B -j A\n-I OUTPUT -j A\nCOMMIT\n", 6, 7, 0},
	{"a table that is not there", "*nosuch\nCOMMIT\n", 1, 1, 0},
	{"no COMMIT", "*nat\n:A - [0:0]\n", 3, 3, 0},
	{"nonsense", "nonsense\n", 1, 1, 0},
}

// The kept output, from iptables 1.8.9, needs no root to be read.
func TestTheLineIsFoundInWhatTheToolsSaid(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/refusals.txtar")
	if err != nil {
		t.Fatal(err)
	}
	stderr := map[string]string{}
	for _, f := range ar.Files {
		stderr[f.Name] = string(f.Data)
	}
	for _, c := range refusals {
		for _, b := range backends {
			for _, f := range ipproto.Families {
				name := fmt.Sprintf("%s (%v, %v)", c.name, b, f)
				text, ok := stderr[name]
				if !ok {
					t.Errorf("%s: not captured", name)
				}
				want := c.nft
				if b == iptables.Legacy {
					want = c.legacy
				}
				if got := iptables.RefusedLine(text); got != want {
					t.Errorf("%s: line %d, want %d, in\n%s", name, got, want, text)
				}
			}
		}
	}
}

// The tools of this machine, as Restore runs them.
func TestRestoreNamesTheRefusedLine(t *testing.T) {
	captured := &txtar.Archive{Comment: []byte("What iptables-restore 1.8.9 says on stderr; written by go test -run NamesTheRefusedLine -capture.\n")}
	for _, c := range refusals {
		for _, b := range backends {
			for _, f := range ipproto.Families {
				name := fmt.Sprintf("%s (%v, %v)", c.name, b, f)
				t.Run(name, func(t *testing.T) {
					enterNamespace(t)
					stderr := refuse(t, open(t, f, b), c.input, map[bool]int{true: max(c.nft, 0), false: c.legacy}[b == iptables.NFT], c.nftMeans)
					captured.Files = append(captured.Files, txtar.File{Name: name, Data: []byte(stderr)})
				})
			}
		}
	}
	if *capture {
		if err := os.WriteFile("testdata/refusals.txtar", txtar.Format(captured), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// refuse loads an input that is refused at the line, and returns what the tool said.
func refuse(t *testing.T, k *iptables.Kernel, input string, line, means int) string {
	t.Helper()
	err := k.Restore(t.Context(), func(w io.Writer) error {
		_, err := io.WriteString(w, input)
		return err
	})
	refused, ok := errors.AsType[*iptables.RestoreError](err)
	if !ok {
		t.Fatalf("error %v, want a *RestoreError", err)
	}
	if means != 0 {
		line = means
	}
	lines := append(strings.Split(input, "\n"), "") // no COMMIT: the line after the last
	if refused.Line != line || refused.Text != lines[line-1] {
		t.Errorf("line %d %q, want %d %q, from\n%s", refused.Line, refused.Text, line, lines[line-1], refused.Stderr)
	}
	return refused.Stderr
}

func TestRestoreErrorReadsAsASentence(t *testing.T) {
	tests := []struct {
		name  string
		rules bool
		err   iptables.RestoreError
		want  string
	}{
		{"refused by the nf_tables kernel", true, iptables.RestoreError{
			Family: ipproto.IPv4, Backend: iptables.NFT, Line: 3, Text: "-A A -m nfacct --nfacct-name foo", Exit: 4,
			Stderr: "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (No such file or directory): rule in chain A\n",
		}, `iptables-restore (nft) refused line 3 "-A A -m nfacct --nfacct-name foo": RULE_APPEND failed (No such file or directory): rule in chain A`},
		{"refused by the legacy kernel", true, iptables.RestoreError{
			Family: ipproto.IPv6, Backend: iptables.Legacy, Line: 9, Text: "COMMIT", Exit: 1, Stderr: "ip6tables-restore: line 9 failed\n",
		}, `ip6tables-restore (legacy) refused line 9 "COMMIT"`},
		{"with a reason", true, iptables.RestoreError{
			Family: ipproto.IPv4, Backend: iptables.NFT, Line: 2, Text: "-X A", Exit: 1,
			Stderr: "iptables-nft-restore: line 2 failed: No chain/target/match by that name.\n",
		}, `iptables-restore (nft) refused line 2 "-X A": No chain/target/match by that name.`},
		{"refused by the tool", true, iptables.RestoreError{
			Family: ipproto.IPv4, Backend: iptables.Legacy, Line: 3, Text: "-A A -j NOPE", Exit: 2,
			Stderr: "iptables-restore v1.8.9 (legacy): Couldn't load target `NOPE':No such file or directory\n\nError occurred at line: 3\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.\n",
		}, "iptables-restore (legacy) refused line 3 \"-A A -j NOPE\": Couldn't load target `NOPE':No such file or directory"},
		{"not allowed", false, iptables.RestoreError{
			Family: ipproto.IPv4, Backend: iptables.NFT, Exit: 4,
			Stderr: "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n",
		}, "iptables-restore (nft) refused its input: Could not fetch rule set generation id: Permission denied (you must be root): " +
			"run as root, or grant the capabilities CAP_NET_ADMIN and CAP_NET_RAW"},
		{"not allowed to lock", false, iptables.RestoreError{
			Family: ipproto.IPv4, Backend: iptables.Legacy, Exit: 4, Stderr: "Fatal: can't open lock file /run/xtables.lock: Permission denied\n",
		}, "iptables-restore (legacy) refused its input: Fatal: can't open lock file /run/xtables.lock: Permission denied: " +
			"run as root, or grant the capabilities CAP_NET_ADMIN and CAP_NET_RAW"},
		{"too much for the socket", false, iptables.RestoreError{
			Family: ipproto.IPv4, Backend: iptables.NFT, Line: 789, Text: "-A A -j ACCEPT", Exit: 4,
			Stderr: "sendmsg() failed: Message too long\niptables-nft-restore: line 789 failed: Message too long.\n",
		}, `iptables-restore (nft) refused line 789 "-A A -j ACCEPT": sendmsg() failed: Message too long: the buffer of the netlink socket ` +
			"is too small for so many rules: raise net.core.wmem_max, or run with CAP_NET_ADMIN outside of a user namespace, which lets iptables raise it"},
		{"not read to the end", false, iptables.RestoreError{
			Family: ipproto.IPv4, Backend: iptables.Legacy, Line: 79418, Text: "-A A -j ACCEPT", Exit: 1,
			Stderr: "iptables-restore: COMMIT expected at line 79418\n",
		}, `iptables-restore (legacy) refused line 79418 "-A A -j ACCEPT": iptables-restore: COMMIT expected at line 79418: ` +
			"it stopped reading, as it does if it has to wait for input for long, on a machine that is very busy; this is tried again"},
		{"silent", false, iptables.RestoreError{Family: ipproto.IPv4, Backend: iptables.NFT, Exit: 139}, "iptables-restore (nft) refused its input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := tt.err.AboutRules(); got != tt.rules {
				t.Errorf("AboutRules() = %t, want %t", got, tt.rules)
			}
		})
	}
}

// The one error of the size of a batch, in the words of 1.8.9, is not that of a rule.
func TestTooLargeIsNotAboutRules(t *testing.T) {
	err := &iptables.RestoreError{Line: 789, Stderr: "sendmsg() failed: Message too long\niptables-nft-restore: line 789 failed: Message too long.\n"}
	if err.AboutRules() || !strings.Contains(err.Error(), "net.core.wmem_max") {
		t.Errorf("%v is taken for a refusal of rules, or does not say what to do", err)
	}
}

// The legacy tool takes an alarm that it set for the lock for the end of its input, five seconds after it took the lock. It
// is to blame, and no rule.
func TestInputThatComesSlowlyIsNotAboutRules(t *testing.T) {
	enterNamespace(t)
	kernel, err := iptables.Open(t.Context(), ipproto.IPv4, iptables.Legacy)
	if err != nil {
		t.Skip(err)
	}
	err = kernel.Restore(t.Context(), func(w io.Writer) error {
		if _, err := io.WriteString(w, "*filter\n"); err != nil {
			return err
		}
		const alarm = 5 * time.Second
		for start := time.Now(); time.Since(start) < alarm+2*time.Second; time.Sleep(10 * time.Millisecond) {
			if _, err := io.WriteString(w, ":A - [0:0]\n"); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, "COMMIT\n")
		return err
	})
	if refused, is := errors.AsType[*iptables.RestoreError](err); err != nil && (!is || refused.AboutRules()) {
		t.Errorf("%v: want no error, or one that is not about rules", err)
	}
}

// Without privileges each command says what to grant.
func TestErrorsWithoutPrivileges(t *testing.T) {
	for _, b := range backends {
		t.Run(b.String(), func(t *testing.T) {
			enterNamespace(t)
			bin := t.TempDir()
			for _, suffix := range []string{"", "-save", "-restore"} {
				name := "iptables-" + b.String() + suffix
				real, err := exec.LookPath(name)
				if err != nil {
					t.Fatal(err)
				}
				setpriv, err := exec.LookPath("setpriv")
				if err != nil {
					t.Skip("needs setpriv (util-linux) to drop capabilities")
				}
				script(t, bin, name, "exec "+setpriv+" --bounding-set=-all --inh-caps=-all "+real+` "$@"`)
			}
			if b == iptables.Legacy { // else there is nothing to read
				run(t, "iptables-legacy", "-t", "nat", "-S")
			}
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			k := open(t, ipproto.IPv4, b)
			_, saveErr := k.Save(t.Context())
			restoreErr := k.Restore(t.Context(), func(w io.Writer) error { _, err := io.WriteString(w, "*nat\nCOMMIT\n"); return err })
			for _, err := range []error{saveErr, restoreErr} {
				if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
					t.Errorf("error %v, want that it names CAP_NET_ADMIN", err)
				}
			}
		})
	}
}

// script writes an executable shell script.
func script(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.WriteFile(dir+"/"+name, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}
