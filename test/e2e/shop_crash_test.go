package e2e

import (
	"context"
	"errors"
	"fmt"
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
// after the crash; it began before all nodes had taken the endpoint out; and it was broken, or was refused by the pod itself.
// The pod's kernel counts whom it refuses (Tcp OutRsts): were there more refused connections than that, somebody else would
// have refused some.
func (s *shopTest) crash(app string) {
	s.Helper()
	victim := s.pods(app)[0]
	var crashed, out time.Time
	before, after := s.resets(victim), 0
	s.step(fmt.Sprintf("%s crashes", victim.Name), func() {
		crashed = time.Now()
		s.must(s.nodeOf(victim).Agent.Kill(shopNamespace, victim.Name))
		s.must(s.awaitOut(victim))
		out = time.Now()
		s.flow(5) // what was begun before is over
		after = s.resets(victim)
		s.must(s.awaitRestart(victim))
		s.settle()
	})
	say("  its endpoint was out of all rules %s after the crash, and back %s after", out.Sub(crashed).Round(time.Millisecond), time.Since(crashed).Round(time.Second))
	refused, broken, odd := 0, 0, 0
	for _, v := range s.visitors {
		for _, r := range client.Failed(v.latest) {
			var problem string
			what := failure(r.Err)
			passedOn, hops := strings.HasPrefix(r.Err, "502"), slices.Index(shop.Apps, app)-slices.Index(shop.Apps, v.app)
			switch {
			case r.Ended().Before(crashed), r.At.After(out):
				problem = "nothing was to lead to the pod"
			case what == "":
				problem = "a crash does not explain that"
			case hops < 0, hops == 0 && passedOn, hops > 0 && !passedOn:
				problem = "that was not where a pod had crashed"
			}
			if what == "refused" {
				refused++
			} else {
				broken++
			}
			if problem == "" {
				continue
			}
			if odd++; odd <= 5 {
				s.Errorf("%s: failed from %s to %s after the crash: %s; %s\n  %s", v.Name, r.At.Sub(crashed).Round(time.Millisecond),
					r.Ended().Sub(crashed).Round(time.Millisecond), r.Err, problem, s.tracked(v, r))
			}
		}
	}
	if odd > 5 {
		s.Errorf("%d requests failed for no good reason", odd)
	}
	say("  failed: %d refused, since nobody listened, and %d broken by the crash; the pod's kernel sent %d resets", refused, broken, after-before)
	if refused > after-before {
		s.Errorf("%d connections were refused, and only %d by the crashed pod", refused, after-before)
	}
	if s.Failed() {
		s.logDiary()
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
		return areEndpoints(s.c, false, victim)
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
