package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/demo/shop"
	"espalier/test/e2e/client"
	"espalier/test/e2e/cluster"
)

// crash kills the process of a pod of an app, which its node starts again.
//
// Some connections fail, and nobody can help it: those that the pod had when it crashed, and those that rules led to it while
// nobody listened there. Rules do so until the crash was reported, the endpoint was taken out of its EndpointSlice, and the
// proxy of the connection's node has followed. So a failure is the application's own if three things are true of it: it ended
// after the crash, it began before all nodes had taken the endpoint out, and its connection, or the one that a pod made
// for it, was led to the crashed pod, as the connection tracking table says. The first connection of a request is found
// there by its port; those that pods make are counted.
func (s *shopTest) crash(app string) {
	s.Helper()
	victim := s.pods(app)[0]
	var crashed, out time.Time
	var led map[connection]bool
	s.step(fmt.Sprintf("%s crashes", victim.Name), func() {
		crashed = time.Now()
		s.must(s.nodeOf(victim).Agent.Kill(shopNamespace, victim.Name))
		s.must(s.awaitOut(victim))
		out = time.Now()
		for _, v := range s.visitors { // what was begun before is over
			s.must(v.Flow(s.ctx(), 5))
		}
		led = s.ledTo(victim)
		s.must(s.awaitRestart(victim))
		s.settle()
	})
	say("  its endpoint was out of all rules %s after the crash, and back %s after", out.Sub(crashed).Round(time.Millisecond), time.Since(crashed).Round(time.Second))
	refused, broken := 0, 0
	for _, v := range s.visitors {
		for _, r := range client.Failed(v.latest) {
			if r.Ended().Before(crashed) || r.At.After(out) {
				s.Errorf("%s: failed from %s to %s after the crash, when nothing was to lead to the pod: %s", v.Name,
					r.At.Sub(crashed).Round(time.Millisecond), r.Ended().Sub(crashed).Round(time.Millisecond), r.Err)
			}
			switch failure(r.Err) {
			case "refused":
				refused++
			case "broken":
				broken++
			default:
				s.Errorf("%s: failed in a way that a crash does not explain: %s\n  %s", v.Name, r.Err, s.tracked(v, r))
			}
			passedOn, hops := strings.HasPrefix(r.Err, "502"), slices.Index(shop.Apps, app)-slices.Index(shop.Apps, v.app)
			switch {
			case hops < 0, hops == 0 && passedOn, hops > 0 && !passedOn:
				s.Errorf("%s: %s, and that was not where a pod had crashed\n  %s", v.Name, r.Err, s.tracked(v, r))
			case hops == 0 && !led[connection{r.From, r.To}]:
				s.Errorf("%s: %s, and its connection was not led to %s: %s", v.Name, r.Err, victim.Name, s.tracked(v, r))
			}
		}
	}
	say("  failed: %d refused, since nobody listened, and %d broken by the crash; the nodes led %d connections to the pod that did not end well", refused, broken, len(led))
	if refused > len(led) {
		s.Errorf("%d requests were refused, and only %d connections had been led to the crashed pod", refused, len(led))
	}
	if s.Failed() {
		s.FailNow()
	}
	s.step("and then", func() {})
	s.expectNoFailure()
	s.expectEvenSpread()
}

// failure says what became of a connection to a pod that crashed; empty: something else.
func failure(text string) string {
	switch {
	case strings.Contains(text, "connection refused"):
		return "refused"
	case strings.Contains(text, "reset by peer"), strings.Contains(text, "EOF"), strings.Contains(text, "broken pipe"):
		return "broken"
	}
	return ""
}

// awaitOut waits until no node has a rule that leads to the pod.
func (s *shopTest) awaitOut(victim corev1.Pod) error {
	return cluster.Until(s.ctx(), victim.Name+" is in no rule", func(context.Context) error {
		return s.noRuleLeadsTo(victim)
	})
}

func (s *shopTest) awaitRestart(victim corev1.Pod) error {
	return cluster.Until(s.ctx(), victim.Name+" is started again", func(ctx context.Context) error {
		p, err := s.c.Client.CoreV1().Pods(shopNamespace).Get(ctx, victim.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if p.Status.ContainerStatuses[0].RestartCount == victim.Status.ContainerStatuses[0].RestartCount {
			return errors.New("it was not")
		}
		return nil
	})
}

func (s *shopTest) nodeOf(p corev1.Pod) *cluster.Node {
	s.Helper()
	for _, n := range s.c.Nodes {
		if n.Name == p.Spec.NodeName {
			return n
		}
	}
	s.Fatalf("pod %s is on %s, which is no node", p.Name, p.Spec.NodeName)
	return nil
}

// connection is from whom to which Service address.
type connection struct{ from, to netip.AddrPort }
