package ruleset_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
	"espalier/proxier/ruleset/ruletest"
)

// sameRules compares rules as the kernel's user does: with ==, and no rules are no rules.
var sameRules = cmp.Options{cmp.Comparer(func(a, b ruleset.Rule) bool { return a == b }), cmpopts.EquateEmpty()}

// text writes chains as restore input does.
func text(rs ruleset.Ruleset, f ipproto.Family) []byte {
	var b []byte
	table := ruleset.Table(255)
	for _, c := range rs.Chains() {
		if c.Table != table {
			if len(b) > 0 {
				b = append(b, "COMMIT\n"...)
			}
			table = c.Table
			b = append(b, "*"+table.String()+"\n"...)
			for _, d := range rs.Chains() {
				if d.Table == table {
					b = append(b, ":"+d.Name+" - [0:0]\n"...)
				}
			}
		}
		for _, r := range rs[c] {
			b = append(r.Append(append(b, "-A "+c.Name+" "...), f), '\n')
		}
	}
	return append(b, "COMMIT\n"...)
}

func TestParseIsTheInverseOfRender(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, f := range ipproto.Families {
		g := ruletest.New(seed, f)
		want := ruleset.Ruleset{}
		for _, table := range []ruleset.Table{ruleset.Filter, ruleset.Nat} {
			for c, rules := range g.Ruleset(table, 300, 12) {
				want[c] = rules
				for _, r := range rules {
					if err := r.Validate(f); err != nil {
						t.Fatalf("the generator made a rule that is not valid: %+v: %v", r, err)
					}
				}
			}
		}
		got, err := ruleset.Parse(bytes.NewReader(text(want, f)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Rules, sameRules); diff != "" {
			t.Errorf("%v: Parse(render(x)) is not x (-want +got):\n%s", f, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("*nat\n:KUBE-SVC-A - [0:0]\n-A KUBE-SVC-A -d 10.0.0.1/32 -p tcp -m tcp --dport 80 -m comment --comment \"a \\\"b\" -j ACCEPT\nCOMMIT\n"))
	f.Add([]byte("*filter\n:INPUT ACCEPT [1:2]\n[5:6] -A INPUT ! -s ::1/128 -m recent --rcheck --seconds 5 --reap --name A --mask 255.255.255.255 --rsource -j DROP\nCOMMIT\n"))
	f.Add([]byte("*nat\n-I POSTROUTING 1 -m statistic --mode random --probability 0.33333333349 -j MARK --set-xmark 0x4000/0x0\n-N A\n-F A\n-X A\nCOMMIT\n"))
	for _, fam := range ipproto.Families {
		f.Add(text(ruletest.New(1, fam).Ruleset(ruleset.Nat, 4, 3), fam))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		saved, err := ruleset.Parse(bytes.NewReader(in))
		if err != nil {
			return
		}
		for c, rules := range saved.Rules {
			for _, r := range rules {
				checkReadRule(t, c, r)
			}
		}
	})
}

// checkReadRule checks what must hold for each rule that was read: it is valid, and reads the same again.
func checkReadRule(t *testing.T, c ruleset.Chain, r ruleset.Rule) {
	t.Helper()
	if r.Foreign != "" {
		return
	}
	f := ipproto.IPv4
	if r.Validate(f) != nil {
		f = ipproto.IPv6
	}
	if err := r.Validate(f); err != nil {
		t.Errorf("chain %v: read a rule that is not valid: %+v: %v", c, r, err)
	}
	again, err := ruleset.Parse(bytes.NewReader(text(ruleset.Ruleset{{Table: ruleset.Nat, Name: "A"}: {r}}, f)))
	if err != nil {
		t.Fatalf("%q: %v", r.Text(f), err)
	}
	if got := again.Rules[ruleset.Chain{Table: ruleset.Nat, Name: "A"}]; len(got) != 1 || got[0] != r {
		t.Errorf("%q reads as\n%+v, not as\n%+v", r.Text(f), got, r)
	}
}

func BenchmarkParse(b *testing.B) {
	g := ruletest.New(1, ipproto.IPv4)
	in := text(g.Ruleset(ruleset.Nat, 5000, 100), ipproto.IPv4)
	rules := bytes.Count(in, []byte("\n-A "))
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := ruleset.Parse(bytes.NewReader(in)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rules)*float64(b.N)/b.Elapsed().Seconds(), "rules/s")
}
