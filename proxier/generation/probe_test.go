package generation

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// Each write of somebody else moves the Stamp, and of the legacy backend only that of its table.
func TestForeignWriteIsSeen(t *testing.T) {
	for _, tc := range []struct {
		name, args string
		table      ruleset.Table
	}{
		{"a rule appended", "-t nat -A KUBE-SERVICES -p sctp -j RETURN", ruleset.Nat},
		{"a rule before our jump", "-t nat -I OUTPUT -p sctp -j RETURN", ruleset.Nat},
		{"our jump deleted", "-t nat -D OUTPUT -j KUBE-SERVICES", ruleset.Nat},
		{"one rule of a chain deleted", "-t filter -D KUBE-FORWARD -p udp -j ACCEPT", ruleset.Filter},
		{"a chain flushed", "-t filter -F KUBE-FORWARD", ruleset.Filter},
		{"a table flushed", "-t nat -F", ruleset.Nat},
		{"the canary deleted", "-t mangle -X KUBE-PROXY-CANARY", ruleset.Mangle},
		{"a chain added", "-t nat -N OTHER", ruleset.Nat},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, p *Probe, tool string) {
				restore(t, tool, load)
				before := read(t, p)
				run(t, tool+" "+tc.args)
				touched := read(t, p).Touched(before)
				if !slices.Contains(touched, tc.table) {
					t.Errorf("%s %s: touched %v, want %v", tool, tc.args, touched, tc.table)
				}
				if strings.HasSuffix(tool, "legacy") && len(touched) != 1 {
					t.Errorf("%s %s: touched %v, want only %v", tool, tc.args, touched, tc.table)
				}
			})
		})
	}
}

// Nobody writes: reading, packets with their counters, and the other backend leave the Stamp alone.
func TestStampStays(t *testing.T) {
	everywhere(t, func(t *testing.T, p *Probe, tool string) {
		restore(t, tool, load)
		other := strings.NewReplacer("legacy", "nft", "nft", "legacy").Replace(tool)
		before := read(t, p)
		for _, tc := range []struct {
			name string
			do   func()
		}{
			{"reading twice", func() {}},
			{"packets", func() { send(t) }},
			{"iptables-save", func() { run(t, tool+"-save") }},
			{"iptables -S", func() { run(t, tool+" -t nat -S") }},
			{"iptables -C", func() { run(t, tool+" -t nat -C OUTPUT -j KUBE-SERVICES") }},
			{"a write of the other backend", func() { restore(t, other, load) }},
		} {
			tc.do()
			if after := read(t, p); after != before {
				t.Errorf("after %s: %+v, was %+v", tc.name, after, before)
			}
		}
		if saved := run(t, tool+"-save -c"); strings.Contains(saved, "[0:0] -A KUBE-FORWARD -p udp") {
			t.Errorf("the packets were not counted, so they prove nothing:\n%s", saved)
		}
	})
}

// What leaves a table as long as it was is seen at once with nft only, and in the Print with legacy.
func TestSameSizeReplaced(t *testing.T) {
	for _, args := range []string{
		"-t nat -R KUBE-SERVICES 1 -p sctp -j RETURN",
		"-t filter -P FORWARD DROP",
		"-t nat -E KUBE-SERVICES OTHER",
	} {
		t.Run(args, func(t *testing.T) {
			everywhere(t, func(t *testing.T, p *Probe, tool string) {
				restore(t, tool, load)
				before, content := read(t, p), readPrint(t, p)
				run(t, tool+" "+args)
				isNFT := strings.HasSuffix(tool, "nft")
				if seen := read(t, p) != before; seen != isNFT {
					t.Errorf("%s %s: seen %v; the package says %v", tool, args, seen, isNFT)
				}
				if seen := readPrint(t, p) != content; seen == isNFT {
					t.Errorf("%s %s: seen in the Print %v; the package says %v", tool, args, seen, !isNFT)
				}
			})
		})
	}
}

// Packets move counters, and nothing else.
func TestPrintStaysWhilePacketsPass(t *testing.T) {
	everywhere(t, func(t *testing.T, p *Probe, tool string) {
		restore(t, tool, load+"*filter\n-A KUBE-FORWARD -m limit --limit 5/s -j ACCEPT\n"+
			"-A KUBE-FORWARD -m statistic --mode nth --every 3 --packet 0 -j ACCEPT\nCOMMIT\n")
		before := readPrint(t, p)
		send(t)
		if saved := run(t, tool+"-save -c"); strings.Contains(saved, "[0:0] -A KUBE-FORWARD -p udp") {
			t.Fatalf("the packets were not counted, so they prove nothing:\n%s", saved)
		}
		if after := readPrint(t, p); after != before {
			t.Errorf("Print is %+v, was %+v", after, before)
		}
	})
}

func readPrint(t testing.TB, p *Probe) Print {
	t.Helper()
	print, err := p.Print(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return print
}

// What is not laid out as expected is refused, whatever it is.
func TestOddEntriesAreRefused(t *testing.T) {
	good := make([]byte, 2*120)
	good[entry4.next], good[120+entry4.next] = 120, 120
	if err := entry4.blank(good); err != nil {
		t.Errorf("two entries: %v", err)
	}
	for name, next := range map[string]byte{"shorter than its head": 111, "without an end": 0, "longer than the table": 241} {
		odd := slices.Clone(good)
		odd[entry4.next] = next
		if err := entry4.blank(odd); err == nil {
			t.Errorf("an entry %s is not refused", name)
		}
	}
	if err := entry4.blank(good[:120+50]); err == nil {
		t.Error("half an entry is not refused")
	}
}

// A rule that changes chains leaves the table as long as it was, but not the places of the built-in chains.
func TestRuleChangesChains(t *testing.T) {
	for name, commit := range map[string]string{
		"from one built-in chain to another":        "-D OUTPUT -j KUBE-FORWARD\n-A INPUT -j KUBE-FORWARD\n",
		"from a chain of ours to the last built-in": "-D KUBE-FORWARD -p udp -j ACCEPT\n-A OUTPUT -p udp -j ACCEPT\n",
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, p *Probe, tool string) {
				restore(t, tool, load)
				before := read(t, p)
				restore(t, tool, "*filter\n"+commit+"COMMIT\n")
				after := read(t, p)
				was, _ := before.Size(ruleset.Filter)
				is, _ := after.Size(ruleset.Filter)
				if is.Entries != was.Entries || is.Bytes != was.Bytes {
					t.Errorf("the size went from %+v to %+v, so this proves nothing", was, is)
				}
				if after == before {
					t.Errorf("not seen: %+v", after)
				}
			})
		})
	}
}

// Asking must not bring tables into a namespace where all packets would then pass them.
func TestTablesAreNotMade(t *testing.T) {
	for _, f := range ipproto.Families {
		t.Run(f.String(), func(t *testing.T) {
			enterNamespace(t)
			p := openProbe(t, f, legacy)
			if s := read(t, p); s != (Stamp{backend: legacy}) {
				t.Errorf("a fresh namespace reads as %+v", s)
			}
			run(t, tool(f, legacy)+" -t filter -S")
			s := read(t, p)
			for _, table := range tables {
				size, ok := s.Size(table)
				if there := size.Entries > 0; !ok || there != (table == ruleset.Filter) {
					t.Errorf("table %v: %+v, %v", table, size, ok)
				}
			}
			names, err := p.kernel.(*legacySocket).list()
			if err != nil || strings.TrimSpace(string(names)) != "filter" {
				t.Errorf("the namespace has the tables %q (error %v), want only filter", names, err)
			}
			// That proves something only if asking does make tables.
			if _, err := p.kernel.(*legacySocket).ask("nat", infoSize); err != nil {
				t.Errorf("ask for a table that is not there: %v", err)
			}
			if names, _ := p.kernel.(*legacySocket).list(); !strings.Contains(string(names), "nat") {
				t.Errorf("asking for nat made no table: %q; then the list need not be read", names)
			}
		})
	}
}

// The number of entries of a legacy table follows from its rules and chains.
func TestEntries(t *testing.T) {
	everywhere(t, func(t *testing.T, p *Probe, tool string) {
		restore(t, tool, load)
		s := read(t, p)
		for table, want := range map[ruleset.Table]uint32{
			ruleset.Mangle: 0 + 2*1 + 5 + 1,
			ruleset.Filter: 4 + 2*1 + 3 + 1,
			ruleset.Nat:    3 + 2*1 + 4 + 1,
		} {
			size, ok := s.Size(table)
			if !ok {
				want = 0 // nft
			}
			if size.Entries != want {
				t.Errorf("table %v: %d entries, want %d", table, size.Entries, want)
			}
		}
	})
}

// A Probe belongs to the namespace in which it was opened, whoever reads it.
func TestProbeStaysInItsNamespace(t *testing.T) {
	for _, b := range []backend{nft, legacy} {
		t.Run(tool(ipproto.IPv4, b), func(t *testing.T) {
			enterNamespace(t)
			p := openProbe(t, ipproto.IPv4, b)
			run(t, tool(ipproto.IPv4, b)+" -t nat -N HERE")
			here := read(t, p)
			elsewhere := make(chan Stamp)
			go func() {
				defer close(elsewhere)
				runtime.LockOSThread()
				if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
					t.Error(err)
					return
				}
				s, err := p.Read(context.Background())
				if err != nil {
					t.Error(err)
				}
				elsewhere <- s
			}()
			if s := <-elsewhere; s != here {
				t.Errorf("read from another namespace: %v, want %v", s, here)
			}
		})
	}
}

// An answer that nobody fetched, and messages of others to our port, do not confuse the next question.
func TestStrayMessages(t *testing.T) {
	enterNamespace(t)
	p := openProbe(t, ipproto.IPv4, nft)
	s := p.kernel.(*nftSocket)
	before := read(t, p)
	if err := unix.Sendto(s.fd, getGen(s.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	run(t, "nft add table ip other")
	if n, ok := read(t, p).Commits(before); n != 1 || !ok {
		t.Errorf("%d commits, %v; want 1: an old answer was taken for the new", n, ok)
	}
}

// A socket without room says so, is emptied, and the question is asked again.
func TestNoRoom(t *testing.T) {
	enterNamespace(t)
	p := openProbe(t, ipproto.IPv4, nft)
	s := p.kernel.(*nftSocket)
	before := read(t, p)
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for range 10_000 { // there is room for some hundred answers; the others are lost, and the next to receive is told
		if err := unix.Sendto(s.fd, getGen(0), 0, to); err != nil {
			t.Fatal(err)
		}
	}
	if after := read(t, p); after != before {
		t.Errorf("after the socket was full: %v, want %v", after, before)
	}
}

func TestEndedContext(t *testing.T) {
	everywhere(t, func(t *testing.T, p *Probe, _ string) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s, err := p.Read(ctx); !errors.Is(err, context.Canceled) || s != (Stamp{}) {
			t.Errorf("got %v, %v; want nothing and that the context was canceled", s, err)
		}
	})
}

// Without the privilege the error says which one; the caller has nothing else to tell the operator.
func TestWithoutPrivilege(t *testing.T) {
	enterNamespace(t)
	dropCapabilities(t)
	_, ofNFT := OpenNFT()
	_, of4 := OpenLegacy(ipproto.IPv4)
	_, of6 := OpenLegacy(ipproto.IPv6)
	for name, err := range map[string]error{"nft": ofNFT, "legacy ipv4": of4, "legacy ipv6": of6} {
		if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("%s: %v; want EPERM and the name of the privilege", name, err)
		}
	}
}

// dropCapabilities takes the effective privileges from the thread, which ends with the test.
func dropCapabilities(t *testing.T) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
}
