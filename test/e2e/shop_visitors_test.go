package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/demo/shop"
	"espalier/test/e2e/client"
	"espalier/test/e2e/cluster"
	"espalier/test/netns/lab"
)

// visitor is a client of the shop that makes a new connection for each request.
type visitor struct {
	*client.Stream
	node   *cluster.Node // whose rules choose the endpoint
	app    string        // the Service that it asks
	mark   int           // the results before the step
	latest []client.Result
}

// invite starts visitors: in pods on all nodes, on nodes, and outside, where they use the node port; of both families, and
// each Service has some of its own.
func (s *shopTest) invite() {
	s.Helper()
	services := map[string]corev1.Service{}
	for _, app := range shop.Apps {
		service, err := s.c.Client.CoreV1().Services(shopNamespace).Get(s.ctx(), app, metav1.GetOptions{})
		s.must(err)
		services[app] = *service
	}
	clusterIP := func(app string, family int) netip.AddrPort {
		spec := services[app].Spec
		return netip.AddrPortFrom(netip.MustParseAddr(spec.ClusterIPs[family]), uint16(spec.Ports[0].Port))
	}
	nodePort := func(n *cluster.Node, family int) netip.AddrPort {
		return netip.AddrPortFrom(n.Addrs[family], uint16(services["frontend"].Spec.Ports[0].NodePort))
	}
	n := s.c.Nodes
	for i, node := range n {
		pod := addPod(s.T, node.Node, "visitor")
		app := shop.Apps[i%len(shop.Apps)]
		s.visit(pod.Namespace, node, "a pod of "+node.Name, app, clusterIP(app, i%2))
	}
	s.visit(n[2].Namespace, n[2], n[2].Name, "backend", clusterIP("backend", 0))
	s.visit(n[0].Namespace, n[0], n[0].Name, "frontend", clusterIP("frontend", 1))
	s.visit(s.c.Outside().Namespace, n[0], "outside", "frontend", nodePort(n[0], 0))
	s.visit(s.c.Outside().Namespace, n[1], "outside", "frontend", nodePort(n[1], 1)) // the node that is drained
}

func (s *shopTest) visit(ns *lab.Namespace, node *cluster.Node, who, app string, to netip.AddrPort) {
	s.Helper()
	stream, err := client.Start(ns, fmt.Sprintf("%s → %s %s", who, app, to), "--every=50ms", "--timeout=20s", to.String())
	s.must(err)
	s.visitors = append(s.visitors, &visitor{Stream: stream, node: node, app: app})
}

// leave ends all visitors.
func (s *shopTest) leave() {
	for _, v := range s.visitors {
		v.Kill()
	}
}

// step notes what visitors meet while something happens, and some time afterwards.
func (s *shopTest) step(title string, happens func()) {
	s.Helper()
	begun := time.Now()
	for _, v := range s.visitors {
		v.mark = v.Count()
	}
	happens()
	s.flow(40)
	requests, failed, resent, slowest := 0, 0, 0, time.Duration(0)
	for _, v := range s.visitors {
		v.latest = v.Since(v.mark)
		requests, failed, resent = requests+len(v.latest), failed+len(client.Failed(v.latest)), resent+client.Resent(v.latest)
		for _, r := range v.latest {
			slowest = max(slowest, r.Took)
		}
	}
	say("%s: %d requests in %.1f s, %d failed, %d segments sent again, the slowest took %s",
		title, requests, time.Since(begun).Seconds(), failed, resent, slowest.Round(time.Millisecond))
	for _, v := range s.visitors {
		for _, r := range v.latest {
			if r.Resent > 0 { // a packet was lost, and nobody noticed
				say("  %s: %d segments sent again, at %s, it took %s: %s %s", v.Name, r.Resent, r.At.Format("15:04:05.000"), r.Took, r.Err, path(r))
			}
		}
	}
}

// flow waits until each visitor has had some more requests, answered or not.
func (s *shopTest) flow(requests int) {
	s.Helper()
	var all errgroup.Group
	ctx := s.ctx()
	for _, v := range s.visitors {
		all.Go(func() error { return v.Flow(ctx, requests) })
	}
	s.must(all.Wait())
}

// expectNoFailure fails if a request of the last step did, and says what the kernel knows about it.
func (s *shopTest) expectNoFailure() {
	s.Helper()
	for _, v := range s.visitors {
		failed := client.Failed(v.latest)
		for _, r := range failed[:min(3, len(failed))] {
			s.Errorf("%s: from %s at %s, after %s: %s\n  %s", v.Name, r.From, r.At.Format("15:04:05.000"), r.Took.Round(time.Millisecond), r.Err, s.tracked(v, r))
		}
		if len(failed) > 3 {
			s.Errorf("%s: %d of %d requests failed", v.Name, len(failed), len(v.latest))
		}
	}
	if s.Failed() {
		s.logDiary()
		s.FailNow()
	}
}

// logDiary logs what happened around the first failure of the last step.
func (s *shopTest) logDiary() {
	s.Helper()
	var first time.Time
	for _, v := range s.visitors {
		for _, r := range client.Failed(v.latest) {
			if first.IsZero() || r.At.Before(first) {
				first = r.At
			}
		}
	}
	s.Logf("around %s:\n%s", first.Format("15:04:05.000"), s.diary.around(first))
}

// path returns the names of the pods that took part in an answer.
func path(r client.Result) []string {
	var page shop.Answer
	if r.Err != "" || json.Unmarshal([]byte(r.Text), &page) != nil {
		return nil
	}
	return page.Path()
}

// expectEvenSpread prints how the requests of the last step were shared out among the pods of each app, and fails if some pod
// got so many or so few that it would happen by chance once in millions of times.
func (s *shopTest) expectEvenSpread() {
	s.Helper()
	for _, app := range shop.Apps {
		tally, sum := map[string]int{}, 0
		for _, p := range s.pods(app) {
			tally[p.Name] = 0
		}
		for _, v := range s.visitors {
			for _, r := range v.latest {
				for _, pod := range path(r) {
					if strings.HasPrefix(pod, app+"-") {
						tally[pod]++
						sum++
					}
				}
			}
		}
		share := 1 / float64(len(tally))
		mean := float64(sum) * share
		bound := 5.5 * math.Sqrt(mean*(1-share))
		var parts []string
		for _, pod := range slices.Sorted(maps.Keys(tally)) {
			parts = append(parts, fmt.Sprintf("%s %d", pod[len(pod)-5:], tally[pod]))
			if tally[pod] == 0 || math.Abs(float64(tally[pod])-mean) > bound {
				s.Errorf("%s answered %d requests of %d, and %.0f give or take %.0f were expected", pod, tally[pod], sum, mean, bound)
			}
		}
		say("  %-8s %s", app, strings.Join(parts, ", "))
	}
}
