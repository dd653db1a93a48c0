package model

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
)

var compareAddrs = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// part is a slice with one TCP port named p.
func part(port uint16, addrs ...SliceAddress) *Slice {
	return &Slice{Ports: []SlicePort{tcp("p", port)}, Addresses: addrs}
}

func tcp(name string, port uint16) SlicePort {
	return SlicePort{PortKey: PortKey{Name: name, Proto: ipproto.TCP}, Port: port}
}

// ready and draining are endpoints of a slice.
func ready(addr string) SliceAddress {
	return SliceAddress{Addr: netip.MustParseAddr(addr), Ready: true, Serving: true}
}

func draining(addr string) SliceAddress {
	return SliceAddress{Addr: netip.MustParseAddr(addr), Serving: true, Terminating: true}
}

func notReady(addr string) SliceAddress { return SliceAddress{Addr: netip.MustParseAddr(addr)} }

func local(a SliceAddress) SliceAddress {
	a.Local = true
	return a
}

func hinted(a SliceAddress, zones ...string) SliceAddress {
	a.ZoneHints = NewNames(zones...)
	return a
}

// describe prints the endpoints in order, with their state.
func describe(b Backends) []string {
	var lines []string
	for key, endpoints := range b {
		for _, e := range endpoints {
			line := fmt.Sprintf("%s %s", key.Name, e.Addr)
			for _, flag := range []struct {
				set  bool
				name string
			}{
				{e.Local, "local"}, {e.Ready, "ready"}, {e.Serving, "serving"}, {e.Terminating, "terminating"},
				{e.ZoneHints != "", "zones=" + string(e.ZoneHints)},
			} {
				if flag.set {
					line += " " + flag.name
				}
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func TestMerge(t *testing.T) {
	for _, test := range []struct {
		name  string
		parts []*Slice
		want  []string
	}{
		{"no slices", nil, nil},
		{"a slice without endpoints", []*Slice{part(80)}, nil},
		{"a slice without ports", []*Slice{{Addresses: []SliceAddress{ready("10.0.0.1")}}}, nil},
		{"one endpoint", []*Slice{part(80, ready("10.0.0.1"))}, []string{"p 10.0.0.1:80 ready serving"}},
		{
			"the order is that of the text",
			[]*Slice{part(22, ready("10.2.2.2"), ready("10.2.2.22"), ready("10.2.2.3"))},
			[]string{"p 10.2.2.22:22 ready serving", "p 10.2.2.2:22 ready serving", "p 10.2.2.3:22 ready serving"},
		},
		{
			"text order holds for IPv6, too",
			[]*Slice{part(22, ready("fd00::9"), ready("fd00::10"))},
			[]string{"p [fd00::10]:22 ready serving", "p [fd00::9]:22 ready serving"},
		},
		{
			"slices may listen on different numbers",
			[]*Slice{part(80, ready("10.0.0.1")), part(81, ready("10.0.0.1"))},
			[]string{"p 10.0.0.1:80 ready serving", "p 10.0.0.1:81 ready serving"},
		},
		{
			"the same endpoint twice is one",
			[]*Slice{part(80, ready("10.0.0.1")), part(80, ready("10.0.0.1"))},
			[]string{"p 10.0.0.1:80 ready serving"},
		},
		{
			"twice in one slice, too",
			[]*Slice{part(80, draining("10.0.0.1"), ready("10.0.0.1"), draining("10.0.0.1"))},
			[]string{"p 10.0.0.1:80 ready serving"},
		},
		{
			"one that lives wins over one that terminates",
			[]*Slice{part(80, local(draining("10.0.0.1"))), part(80, notReady("10.0.0.1"))},
			[]string{"p 10.0.0.1:80"},
		},
		{
			"a terminating one stays if there is no other",
			[]*Slice{part(80, draining("10.0.0.1"))},
			[]string{"p 10.0.0.1:80 serving terminating"},
		},
		{
			"of two that live, the ready one wins",
			[]*Slice{part(80, local(notReady("10.0.0.1"))), part(80, ready("10.0.0.1"))},
			[]string{"p 10.0.0.1:80 ready serving"},
		},
		{
			"then the local one",
			[]*Slice{part(80, hinted(ready("10.0.0.1"), "b")), part(80, local(ready("10.0.0.1")))},
			[]string{"p 10.0.0.1:80 local ready serving"},
		},
		{
			"then the one with hints",
			[]*Slice{part(80, ready("10.0.0.1")), part(80, hinted(ready("10.0.0.1"), "a")), part(80, hinted(ready("10.0.0.1"), "b"))},
			[]string{"p 10.0.0.1:80 ready serving zones=b"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 6 { // whatever the order of the slices
				rand.Shuffle(len(test.parts), func(i, j int) { test.parts[i], test.parts[j] = test.parts[j], test.parts[i] })
				got := Merge(slices.Values(test.parts))
				if diff := cmp.Diff(test.want, describe(got)); diff != "" {
					t.Fatalf("endpoints (-want +got):\n%s", diff)
				}
				if test.want == nil && got != nil {
					t.Fatalf("got %v, want nil for no endpoints", got)
				}
			}
		})
	}
}

func TestMergeKeepsPortsApart(t *testing.T) {
	udp := SlicePort{PortKey: PortKey{Name: "dns", Proto: ipproto.UDP}, Port: 53}
	got := Merge(slices.Values([]*Slice{
		{Ports: []SlicePort{tcp("dns", 53), udp}, Addresses: []SliceAddress{ready("10.0.0.1")}},
		{Ports: []SlicePort{udp}, Addresses: []SliceAddress{ready("10.0.0.2")}},
	}))
	one := Endpoint{Addr: netip.MustParseAddrPort("10.0.0.1:53"), Ready: true, Serving: true}
	two := Endpoint{Addr: netip.MustParseAddrPort("10.0.0.2:53"), Ready: true, Serving: true}
	want := Backends{
		{Name: "dns", Proto: ipproto.TCP}: {one},
		{Name: "dns", Proto: ipproto.UDP}: {one, two},
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("backends (-want +got):\n%s", diff)
	}
}

// TestMergeIgnoresOrder draws slices full of duplicates that differ in every field.
func TestMergeIgnoresOrder(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	flip := func() bool { return r.IntN(2) == 0 }
	for range 200 {
		var parts []*Slice
		for range 4 {
			p := part(uint16(80 + r.IntN(2)))
			for range r.IntN(12) {
				a := SliceAddress{
					Addr:  netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(4))}),
					Local: flip(), Ready: flip(), Serving: flip(), Terminating: flip(),
				}
				a.ZoneHints = []Names{"", "a", "a,b"}[r.IntN(3)]
				a.NodeHints = []Names{"", "n"}[r.IntN(2)]
				p.Addresses = append(p.Addresses, a)
			}
			parts = append(parts, p)
		}
		want := Merge(slices.Values(parts))
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		for _, p := range parts {
			r.Shuffle(len(p.Addresses), func(i, j int) { p.Addresses[i], p.Addresses[j] = p.Addresses[j], p.Addresses[i] })
		}
		got := Merge(slices.Values(parts))
		if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
			t.Fatalf("seed %d: another order, other endpoints (-first +second):\n%s", seed, diff)
		}
		for _, endpoints := range got {
			if !slices.IsSortedFunc(endpoints, CompareEndpoints) {
				t.Fatalf("seed %d: not sorted: %v", seed, endpoints)
			}
		}
	}
}

func TestLocalReady(t *testing.T) {
	both := []SlicePort{tcp("a", 80), tcp("b", 81)}
	readyButTerminating := local(ready("10.0.0.9"))
	readyButTerminating.Terminating = true
	for _, test := range []struct {
		name  string
		addrs []SliceAddress
		want  int
	}{
		{"nothing", nil, 0},
		{"remote ones do not count", []SliceAddress{ready("10.0.0.1"), ready("10.0.0.2")}, 0},
		{"an address counts once for all ports", []SliceAddress{local(ready("10.0.0.1"))}, 1},
		{
			"three of four are ready",
			[]SliceAddress{local(ready("10.0.0.1")), local(ready("10.0.0.2")), local(ready("10.0.0.3")), local(notReady("10.0.0.4"))},
			3,
		},
		{
			"neither those that drain nor those that are not ready count",
			[]SliceAddress{local(draining("10.0.0.1")), local(notReady("10.0.0.2")), readyButTerminating},
			0,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := Merge(slices.Values([]*Slice{{Ports: both, Addresses: test.addrs}}))
			if got := LocalReady(b); got != test.want {
				t.Errorf("LocalReady is %d, want %d", got, test.want)
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{1, 3, 100, 5000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			var parts []*Slice
			for i := range n {
				if i%100 == 0 {
					parts = append(parts, part(8080))
				}
				p := parts[len(parts)-1]
				p.Addresses = append(p.Addresses, SliceAddress{Addr: netip.AddrFrom4([4]byte{10, 128, byte(i >> 8), byte(i)}), Ready: true})
			}
			b.ReportAllocs()
			for b.Loop() {
				Merge(slices.Values(parts))
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "endpoints/s")
		})
	}
}
