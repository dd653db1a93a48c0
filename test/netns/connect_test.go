package netns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/test/netns/lab"
	"espalier/watcher"
	"espalier/watcher/synthetic"
)

// BenchmarkConnect measures the first packets of TCP connections: how long connect takes, with 100 to 30,000
// Services. In turn it connects to
//
//   - any Service at random, of which most were not used for long, so that their rules are not in the caches of
//     the processor: the worst case (p50-us, p99-us);
//   - one of eight Services that are busy (busy-p50-us);
//   - an endpoint directly, which goes through the rules too, as every new connection of a node does
//     (direct-p50-us, direct-p99-us).
//
// The ratios are medians over the direct one, and extra-us is the difference to it. The direct one has two typical
// values, about 10 and 17 us on one machine, depending on whether the server sleeps when a connection comes; all
// kinds of one run have the same, so that the difference says more than the ratio.
func BenchmarkConnect(b *testing.B) {
	needNamespaces(b)
	for _, backend := range []iptables.Backend{iptables.NFT, iptables.Legacy} {
		for _, services := range []int{100, 1000, 10000, 30000} {
			b.Run(fmt.Sprintf("%s/services=%d", backend, services), func(b *testing.B) {
				n := newBenchNode(b, backend, services)
				var took samples
				err := n.Do(func() (err error) {
					for err == nil && b.Loop() {
						err = took.round(n.frontends)
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

// samples are how long connections took.
type samples struct{ random, busy, direct []time.Duration }

// round makes one connection of each kind.
func (s *samples) round(frontends []frontend) error {
	const few = 8
	one, used := frontends[rand.IntN(len(frontends))], frontends[rand.IntN(few)]
	for _, c := range []struct {
		to   netip.AddrPort
		took *[]time.Duration
	}{{one.service, &s.random}, {one.endpoint, &s.direct}, {used.service, &s.busy}} {
		took, err := connect(c.to)
		if err != nil {
			return err
		}
		*c.took = append(*c.took, took)
	}
	return nil
}

func (s *samples) report(b *testing.B) {
	b.Helper()
	us := func(took []time.Duration, share float64) float64 {
		slices.Sort(took)
		return float64(took[int(share*float64(len(took)-1))].Nanoseconds()) / 1000
	}
	direct := us(s.direct, 0.5)
	b.ReportMetric(0, "ns/op") // of a round: says nothing
	b.ReportMetric(us(s.random, 0.5), "p50-us")
	b.ReportMetric(us(s.random, 0.99), "p99-us")
	b.ReportMetric(us(s.busy, 0.5), "busy-p50-us")
	b.ReportMetric(direct, "direct-p50-us")
	b.ReportMetric(us(s.direct, 0.99), "direct-p99-us")
	b.ReportMetric(us(s.random, 0.5)-direct, "extra-us")
	b.ReportMetric(us(s.random, 0.5)/direct, "ratio")
	b.ReportMetric(us(s.busy, 0.5)/direct, "busy-ratio")
}

// benchNode is a node with a synthetic cluster of Services with one endpoint each.
type benchNode struct {
	*lab.Alone
	frontends []frontend
}

type frontend struct{ service, endpoint netip.AddrPort }

func newBenchNode(b *testing.B, backend iptables.Backend, services int) *benchNode {
	b.Helper()
	pods, frontends := netip.MustParsePrefix("10.128.0.0/9"), netip.MustParsePrefix("10.96.0.0/12")
	alone, err := lab.NewAlone(netip.MustParseAddr("10.255.255.1"), pods, frontends)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(alone.Close)
	const target = 8080 // of all synthetic Services but the first two
	if err := alone.Listen(target); err != nil {
		b.Fatal(err)
	}
	tracker := watcher.New()
	tracker.Replace(synthetic.Cluster(1, synthetic.Size{Services: services, Endpoints: 1}))
	tracker.SetSynced()
	snapshot, _, _ := tracker.View(ipproto.IPv4).Snapshot()
	config := defaults(ipproto.IPv4)
	config.Detector.PodCIDR = pods
	rules, _ := plan.Plan(snapshot, config)
	err = alone.Do(func() error {
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
	n := &benchNode{Alone: alone}
	for _, e := range snapshot.Services {
		n.frontends = append(n.frontends, frontendsOf(e, target)...)
	}
	return n
}

func frontendsOf(e model.Entry, target uint16) (all []frontend) {
	for _, p := range e.Service.Ports {
		for _, endpoint := range e.Backends[p.PortKey] {
			if p.Proto == ipproto.TCP && endpoint.Addr.Port() == target {
				all = append(all, frontend{netip.AddrPortFrom(e.Service.ClusterIP, p.Port), endpoint.Addr})
			}
		}
	}
	return all
}

// connect returns how long it takes to connect. It ends the connection with a reset, which leaves nothing behind.
func connect(to netip.AddrPort) (time.Duration, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return 0, err
	}
	addr := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	start := time.Now()
	err = unix.Connect(fd, addr)
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", to, err)
	}
	return took, nil
}
