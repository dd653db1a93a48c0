package delta_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

func TestShowIsWhatChanges(t *testing.T) {
	have := parsed(t, `*nat
:PREROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SVC-OLD - [0:0]
:THEIRS - [0:0]
-A PREROUTING -j THEIRS
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-OLD
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j RETURN
-A KUBE-SVC-A -p tcp -j DNAT --to-destination 10.0.0.1:80
-A KUBE-SVC-OLD -j RETURN
COMMIT
`)
	want := parsed(t, `*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SVC-B - [0:0]
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SERVICES -d 10.96.0.3/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-B
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j RETURN
-A KUBE-SVC-A -p tcp -j DNAT --to-destination 10.0.0.1:80
-A KUBE-SVC-B -p tcp -j DNAT --to-destination 10.0.0.2:80
COMMIT
`)
	var jumps []ruleset.Jump
	for _, j := range ruleset.Jumps() {
		if j.From == nat("PREROUTING") {
			jumps = append(jumps, j)
		}
	}
	b := delta.Between(have, want).Attach(have, jumps, nil)
	want1 := `@@ nat KUBE-SERVICES @@
 -A KUBE-SERVICES -d 10.96.0.1 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
--A KUBE-SERVICES -d 10.96.0.2 -p tcp -m tcp --dport 80 -j KUBE-SVC-OLD
+-A KUBE-SERVICES -d 10.96.0.3 -p tcp -m tcp --dport 80 -j KUBE-SVC-B
 -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j RETURN
@@ nat KUBE-SVC-B, a new chain @@
+-A KUBE-SVC-B -p tcp -j DNAT --to-destination 10.0.0.2:80
@@ nat KUBE-SVC-OLD, a chain that goes @@
--A KUBE-SVC-OLD -j RETURN
@@ nat PREROUTING @@
+-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
 -A PREROUTING -j THEIRS
`
	if diff := cmp.Diff(want1, shown(t, b, have)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if text := shown(t, delta.Between(have, have), have); text != "" {
		t.Errorf("nothing changes, and this is shown:\n%s", text)
	}
}

// Whatever changes: the lines with " " and "-" are the chain as it was, those with " " and "+" as it will be.
func TestShowHasBothSides(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	chain := nat("KUBE-SVC-A")
	for range 300 {
		side := func() ruleset.Ruleset {
			var rules []ruleset.Rule
			for range r.IntN(12) {
				rules = append(rules, ruleset.Rule{Comment: fmt.Sprint(r.IntN(6)), Jump: ruleset.Return})
			}
			return ruleset.Ruleset{chain: rules}
		}
		have, want := side(), side()
		var was, will []string
		for line := range strings.Lines(shown(t, delta.Between(have, want), have)) {
			sign, rule := line[0], strings.TrimSpace(line[1:])
			if sign == '@' {
				continue
			}
			if sign != '+' {
				was = append(was, rule)
			}
			if sign != '-' {
				will = append(will, rule)
			}
		}
		text := func(rs ruleset.Ruleset) (list []string) {
			for _, r := range rs[chain] {
				list = append(list, "-A KUBE-SVC-A "+r.Text(ipproto.IPv4))
			}
			return list
		}
		if slices.Equal(have[chain], want[chain]) {
			continue
		}
		if !slices.Equal(was, text(have)) || !slices.Equal(will, text(want)) {
			t.Fatalf("seed %d: from %q to %q is shown as %q and %q", seed, text(have), text(want), was, will)
		}
	}
}

func parsed(t *testing.T, text string) ruleset.Ruleset {
	t.Helper()
	saved, err := ruleset.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return saved.Rules
}

func shown(t *testing.T, b delta.Batch, have ruleset.Ruleset) string {
	t.Helper()
	var text bytes.Buffer
	if err := b.Show(&text, have, ipproto.IPv4); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
