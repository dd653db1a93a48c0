package iptables_test

import (
	"fmt"
	"net/netip"
	"testing"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/ruleset"
)

// services returns the nat table for n Services with some endpoints each: a tree of two levels, and a chain for
// each Service.
func services(n, endpoints int) ruleset.Ruleset {
	rs := complete(ruleset.Ruleset{})
	var root []ruleset.Rule
	for i := range n {
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 96 + byte(i>>16), byte(i >> 8), byte(i)}), 32)
		leaf := nat(fmt.Sprintf("KUBE-SVC-TREE-%d", i/16))
		if i%16 == 0 {
			root = append(root, ruleset.Rule{Dst: netip.PrefixFrom(dst.Addr(), 28), Jump: leaf.Name})
		}
		svc := nat(ruleset.PrefixService + ruleset.Hash(fmt.Sprint(i)))
		rs[leaf] = append(rs[leaf], ruleset.Rule{
			Comment: fmt.Sprintf("default/service-%d:http", i), Dst: dst, Proto: ipproto.TCP, DstPorts: ruleset.Port(80), Jump: svc.Name,
		})
		for e := range endpoints {
			rs[svc] = append(rs[svc], ruleset.Rule{
				Proto: ipproto.TCP, Share: ruleset.OneIn(endpoints - e), Jump: ruleset.DNAT,
				To: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(e), byte(i >> 8), byte(i)}), 8080),
			})
		}
	}
	rs[nat(ruleset.Services)] = root
	return rs
}

// The kernel gets all rules, one changed chain, and is read; both backends.
func BenchmarkKernel(b *testing.B) {
	for _, backend := range backends {
		for _, n := range []int{1000, 10000} {
			want := services(n, 3)
			cold := delta.Between(nil, want).Attach(nil, ruleset.Jumps(), nil)
			bench := func(what string, work func(*testing.B, *iptables.Kernel)) {
				b.Run(fmt.Sprintf("%s/backend=%v/services=%d", what, backend, n), func(b *testing.B) {
					enterNamespace(b)
					k := open(b, ipproto.IPv4, backend)
					if what != "cold" {
						_, err := k.Apply(b.Context(), cold)
						must(b, err)
					}
					work(b, k)
				})
			}
			bench("cold", func(b *testing.B, k *iptables.Kernel) {
				for b.Loop() {
					b.StopTimer()
					_, err := iptables.Cleanup(b.Context())
					must(b, err)
					b.StartTimer()
					_, err = k.Apply(b.Context(), cold)
					must(b, err)
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "services/s")
			})
			bench("change", func(b *testing.B, k *iptables.Kernel) {
				svc := nat(ruleset.PrefixService + ruleset.Hash("0"))
				one := delta.Batch{Write: ruleset.Ruleset{svc: want[svc]}}
				for b.Loop() {
					_, err := k.Apply(b.Context(), one)
					must(b, err)
				}
			})
			bench("save", func(b *testing.B, k *iptables.Kernel) {
				for b.Loop() {
					_, err := k.Save(b.Context(), ruleset.Filter, ruleset.Nat)
					must(b, err)
				}
			})
		}
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
