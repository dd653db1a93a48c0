package netns

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/test/netns/lab"
	"espalier/watcher"
	"espalier/watcher/synthetic"
)

// BenchmarkConnectFromPod measures the same as BenchmarkConnect where Services are used: the client is a pod and the
// endpoints are pods, each in a namespace of its own behind the node, and packets are forwarded.
func BenchmarkConnectFromPod(b *testing.B) {
	needNamespaces(b)
	for _, backend := range []iptables.Backend{iptables.NFT, iptables.Legacy} {
		for _, services := range []int{100, 1000, 10000, 30000} {
			b.Run(fmt.Sprintf("%s/services=%d", backend, services), func(b *testing.B) {
				site, frontends := newBenchSite(b, backend, services)
				var took samples
				err := site.Host(lab.Pod).Do(func() (err error) {
					for err == nil && b.Loop() {
						err = took.round(frontends)
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
				took.report(b)
			})
		}
	}
}

// newBenchSite returns a node with rules for a synthetic cluster, a pod, and a host that has all endpoints.
func newBenchSite(b *testing.B, backend iptables.Backend, services int) (*lab.Lab, []frontend) {
	b.Helper()
	const target = 8080
	client, pods := netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("10.128.0.0/9")
	site, err := lab.New(lab.Config{
		Family: ipproto.IPv4,
		Node:   []netip.Addr{netip.MustParseAddr("192.168.0.2")},
		Routes: map[lab.Host][]netip.Prefix{lab.Pod: {client}, lab.Endpoints: {pods}},
		Ports:  []uint16{target},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(site.Close)

	tracker := watcher.New()
	tracker.Replace(synthetic.Cluster(1, synthetic.Size{Services: services, Endpoints: 1}))
	tracker.SetSynced()
	snapshot, _, _ := tracker.View(ipproto.IPv4).Snapshot()
	config := defaults(ipproto.IPv4)
	config.Detector.PodCIDR = netip.MustParsePrefix("10.0.0.0/8")
	rules, _ := plan.Plan(snapshot, config)
	err = site.Host(lab.Node).Do(func() error {
		kernel, err := iptables.Open(context.Background(), ipproto.IPv4, backend)
		if err != nil {
			return err
		}
		_, err = kernel.Apply(context.Background(), delta.Between(nil, rules).Attach(nil, ruleset.Jumps(), nil))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	var frontends []frontend
	for _, e := range snapshot.Services {
		frontends = append(frontends, frontendsOf(e, target)...)
	}
	return site, frontends
}
