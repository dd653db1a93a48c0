package delta_test

import (
	"fmt"
	"io"
	"maps"
	"testing"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
	"espalier/proxier/ruleset/ruletest"
)

// large returns about 10,000 chains with 25,000 rules.
func large() ruleset.Ruleset { return random(ruletest.New(1, ipproto.IPv4), 5000) }

func BenchmarkBetween(b *testing.B) {
	have := large()
	for _, changes := range []int{0, 1, 10000} {
		want := maps.Clone(have)
		for _, c := range have.Chains()[:min(changes, len(have))] {
			want[c] = append([]ruleset.Rule{{Jump: ruleset.Accept}}, want[c]...)
		}
		b.Run(fmt.Sprintf("changed=%d", changes), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if delta.Between(have, want).Empty() != (changes == 0) {
					b.Fatal("the batch does not fit the change")
				}
			}
			b.ReportMetric(float64(len(have))*float64(b.N)/b.Elapsed().Seconds(), "chains/s")
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	batch := delta.Between(nil, large())
	for _, s := range []delta.Strategy{delta.Legacy, delta.NFT} {
		b.Run(s.String(), func(b *testing.B) {
			b.ReportAllocs()
			var size counter
			for b.Loop() {
				size = 0
				if _, err := batch.Encode(&size, ipproto.IPv4, s); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size), "restore-bytes/op")
			b.ReportMetric(float64(batch.Rules())*float64(b.N)/b.Elapsed().Seconds(), "rules/s")
		})
	}
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

var _ io.Writer = (*counter)(nil)
