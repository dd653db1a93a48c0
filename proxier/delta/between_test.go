package delta_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

func reject(dst string) ruleset.Rule {
	return ruleset.Rule{Dst: netip.MustParsePrefix(dst), Jump: ruleset.Reject}
}

// A chain of verdicts in the filter table, and one in nat that changes in any case.
func TestTheTableThatGoesFirst(t *testing.T) {
	a, b := reject("10.96.0.1/32"), reject("10.96.0.2/32")
	jump := ruleset.Rule{Jump: "KUBE-SVC-TREE"}
	root, tree := filter(ruleset.Services), filter("KUBE-SVC-TREE")
	tests := []struct {
		name       string
		have, want ruleset.Ruleset
		natFirst   bool
	}{
		{"a verdict appears", ruleset.Ruleset{root: nil}, ruleset.Ruleset{root: {a}}, false},
		{"a verdict vanishes", ruleset.Ruleset{root: {a}}, ruleset.Ruleset{root: nil}, true},
		{"one of two vanishes", ruleset.Ruleset{root: {a, b}}, ruleset.Ruleset{root: {b}}, true},
		{"one comes, one goes", ruleset.Ruleset{root: {a}}, ruleset.Ruleset{root: {b}}, false},
		{"one moves into a new chain, one vanishes",
			ruleset.Ruleset{root: {a, b}}, ruleset.Ruleset{root: {jump}, tree: {b}}, true},
		{"one vanishes with its chain", ruleset.Ruleset{root: {jump}, tree: {b}}, ruleset.Ruleset{root: nil}, true},
		{"only the order changes", ruleset.Ruleset{root: {a, b}}, ruleset.Ruleset{root: {b, a}}, false},
		{"filter is as it was", ruleset.Ruleset{root: {a}}, ruleset.Ruleset{root: {a}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.have[nat(ruleset.Services)] = nil
			tt.want[nat(ruleset.Services)] = []ruleset.Rule{{Jump: ruleset.Accept}}
			batch := delta.Between(tt.have, tt.want)
			if batch.NatFirst != tt.natFirst {
				t.Errorf("NatFirst = %t, want %t", batch.NatFirst, tt.natFirst)
			}
			text, err := batch.Text(ipproto.IPv4, delta.NFT)
			if err != nil {
				t.Fatal(err)
			}
			if got := bytes.HasPrefix(text, []byte("*nat")); got != tt.natFirst && bytes.Contains(text, []byte("*filter")) {
				t.Errorf("the text begins with nat: %t, want %t:\n%s", got, tt.natFirst, text)
			}
		})
	}
}

func TestBetweenLeavesTheChainsOfOthersAlone(t *testing.T) {
	have := ruleset.Ruleset{
		nat("PREROUTING"):                  {{Jump: "DOCKER"}},
		nat("DOCKER"):                      {{Jump: ruleset.Return}},
		nat(ruleset.KubeletCanary):         nil,
		nat(ruleset.ProxyCanary):           nil,
		nat("KUBE-MARK-DROP"):              nil,
		filter(ruleset.Firewall):           {{Jump: ruleset.Drop}},
		{Table: ruleset.Mangle, Name: "X"}: nil,
	}
	if b := delta.Between(have, nil); !b.Empty() {
		t.Errorf("batch %+v", b)
	}
}

// Whatever is wrong with a rule, nothing is written, and the error says where it is.
func TestEncodeWritesNothingOfABadBatch(t *testing.T) {
	bad := ruleset.Rule{Comment: "x\"\nCOMMIT\n*filter\n-F", Jump: ruleset.Accept}
	svc := nat("KUBE-SVC-AAAA")
	tests := []struct {
		name  string
		batch delta.Batch
		says  []string
	}{
		{"a rule", delta.Batch{Write: ruleset.Ruleset{svc: {{Jump: ruleset.Accept}, bad}, nat("KUBE-SVC-ZZZZ"): {bad}}},
			[]string{"nat/KUBE-SVC-AAAA", "rule 2", "comment"}},
		{"a chain to write", delta.Batch{Write: ruleset.Ruleset{nat("a b"): nil}}, []string{"a b"}},
		{"a chain to delete", delta.Batch{Delete: []ruleset.Chain{nat("a\nb")}}, []string{`a\nb`}},
		{"a jump", delta.Batch{Jumps: []delta.Insertion{{Jump: ruleset.Jump{From: nat("OUTPUT"), To: "X", Rule: bad}}}}, []string{"nat/OUTPUT", "comment"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w bytes.Buffer
			_, err := tt.batch.Encode(&w, ipproto.IPv4, delta.NFT)
			if _, ok := errors.AsType[*delta.InvalidError](err); !ok {
				t.Fatalf("error %v, want an *InvalidError", err)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not say %q", err, s)
				}
			}
			if w.Len() > 0 {
				t.Errorf("written: %s", w.Bytes())
			}
		})
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestEncodeReportsAWriteError(t *testing.T) {
	b := delta.Batch{Write: ruleset.Ruleset{nat("KUBE-SVC-AAAA"): nil}}
	if _, err := b.Encode(brokenPipe{}, ipproto.IPv4, delta.Legacy); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v, want %v", err, io.ErrClosedPipe)
	}
}

// No kernel has a loop, but Between must not hang on one.
func TestALoopIsCut(t *testing.T) {
	rs := ruleset.Ruleset{nat("KUBE-SVC-A"): {{Jump: "KUBE-SVC-B"}}, nat("KUBE-SVC-B"): {{Jump: "KUBE-SVC-A"}}}
	if b := delta.Between(rs, nil); len(b.Delete) != 2 {
		t.Errorf("to delete: %v", b.Delete)
	}
	if _, err := delta.Between(nil, rs).Text(ipproto.IPv4, delta.NFT); err != nil {
		t.Error(err)
	}
}

func TestRemovalOfNothingIsEmpty(t *testing.T) {
	have := ruleset.Ruleset{filter("INPUT"): {{Jump: ruleset.Firewall}}, filter(ruleset.Firewall): nil}
	if b := delta.Removal(have); !b.Empty() {
		t.Errorf("batch %+v", b)
	}
}
