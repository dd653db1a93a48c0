package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"espalier/test/demo/shop"
	"espalier/test/e2e/client"
	"espalier/test/e2e/cluster"
)

// The web shop is opened, grows and shrinks, is updated, loses a pod by a crash and a node to maintenance, and is closed,
// while visitors everywhere make connections without pause. The only connections that fail are those that the application
// itself breaks: by not being there yet, by crashing, and by having left.
func TestTheWebShop(t *testing.T) {
	c := theClusterFor(t)
	s := &shopTest{T: t, c: c}
	t.Cleanup(s.leave)
	s.open()
	s.scale("backend", 5)
	s.scale("backend", 2)
	s.scale("frontend", 3)
	s.update("frontend", "backend")
	s.crash("backend")
	s.crash("frontend")
	s.drain(c.Nodes[1])
	s.closeDown()
}

// shopTest is the web shop in the cluster, with its visitors.
type shopTest struct {
	*testing.T
	c        *cluster.Cluster
	visitors []*visitor
	diary    diary
}

const shopNamespace = "shop"

// preStop is how long a pod of the shop serves on after it was deleted: longer than controllers and proxies may take to tell
// each other of it, on a machine that has much else to do.
const preStop = 6 * time.Second

// open applies the manifests, while visitors are there already. Each of them may fail until it is served for the first time,
// and until all nodes know all pods; from then on, no request may.
func (s *shopTest) open() {
	s.Helper()
	say("the web shop is opened, with visitors at the door")
	begun := time.Now()
	var services, deployments []string
	for _, app := range shop.Apps {
		deployment, service := s.manifest(app)
		services, deployments = append(services, service), append(deployments, deployment)
	}
	// A container learns in its environment of the Services that are there when it is started.
	s.must(s.c.Apply(s.ctx(), services...))
	s.Cleanup(func() { removeNamespace(s.T, s.c, shopNamespace) })
	s.keepDiary()
	s.invite()
	s.must(s.c.Apply(s.ctx(), deployments...))
	for _, v := range s.visitors {
		first, err := v.Await(s.ctx(), 0, "the first answer", func(r client.Result) bool { return r.Err == "" })
		s.must(err)
		say("  %-46s served %.1f s after the start", v.Name, first.Ended().Sub(begun).Seconds())
	}
	s.settle()
	early := 0
	for _, v := range s.visitors {
		early += len(client.Failed(v.Since(0)))
	}
	say("  all pods are ready and known to all nodes after %.1f s; %d requests had found nobody before", time.Since(begun).Seconds(), early)
	s.step("visitors are served", func() {})
	s.expectEvenSpread()
}

// scale changes the number of an app's pods.
func (s *shopTest) scale(app string, replicas int) {
	s.Helper()
	before := s.pods(app)
	s.step(fmt.Sprintf("%s is scaled from %d to %d", app, len(before), replicas), func() {
		s.patch(app, fmt.Sprintf(`{"spec": {"replicas": %d}}`, replicas))
		s.settle()
	})
	s.expectNoFailure()
	s.step("and then", func() {})
	s.expectNoFailure()
	s.expectEvenSpread()
}

// update changes a variable of the pods of apps, so that all are replaced.
func (s *shopTest) update(apps ...string) {
	s.Helper()
	old := map[string]bool{}
	for _, app := range apps {
		for _, p := range s.pods(app) {
			old[p.Name] = true
		}
	}
	s.step(fmt.Sprintf("%s are updated", strings.Join(apps, " and ")), func() {
		for _, app := range apps {
			s.patch(app, fmt.Sprintf(`{"spec": {"template": {"spec": {"containers": [{"name": %q, "env": [{"name": "EDITION", "value": "2"}]}]}}}}`, app))
		}
		s.settle()
	})
	s.expectNoFailure()
	s.step("and then", func() {})
	s.expectNoFailure()
	s.expectEvenSpread()
	for _, v := range s.visitors {
		for _, r := range v.latest {
			for _, pod := range path(r) {
				if old[pod] {
					s.Fatalf("%s was served by %s, which was replaced", v.Name, pod)
				}
			}
		}
	}
}

// drain does what "kubectl drain" does, and takes the node into service again afterwards.
func (s *shopTest) drain(n *cluster.Node) {
	s.Helper()
	cordon := func(on bool) {
		patch := fmt.Appendf(nil, `{"spec": {"unschedulable": %t}}`, on)
		_, err := s.c.Client.CoreV1().Nodes().Patch(s.ctx(), n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		s.must(err)
	}
	var there []string
	for _, p := range s.pods("") {
		if p.Spec.NodeName == n.Name {
			there = append(there, p.Name)
		}
	}
	s.step(fmt.Sprintf("%s is drained of %s", n.Name, strings.Join(there, ", ")), func() {
		cordon(true)
		s.Cleanup(func() { cordon(false) })
		for _, name := range there {
			eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: shopNamespace}}
			s.must(s.c.Client.PolicyV1().Evictions(shopNamespace).Evict(s.ctx(), eviction))
		}
		s.settle()
	})
	s.expectNoFailure()
	for _, p := range s.pods("") {
		if p.Spec.NodeName == n.Name {
			s.Errorf("%s is on %s, which was drained", p.Name, n.Name)
		}
	}
	cordon(false)
	s.step("and then", func() {})
	s.expectNoFailure()
	s.expectEvenSpread()
}

// closeDown deletes the Deployments. Their pods serve on until their hooks are over; when the last is gone, the Services
// refuse at once.
func (s *shopTest) closeDown() {
	s.Helper()
	deleted := time.Now()
	s.step("the shop is closed: all Deployments are deleted", func() {
		deployments := s.c.Client.AppsV1().Deployments(shopNamespace)
		for _, app := range shop.Apps {
			s.must(deployments.Delete(s.ctx(), app, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}))
		}
		s.settle()
	})
	for _, v := range s.visitors {
		for _, r := range client.Failed(v.latest) {
			if r.Ended().Before(deleted.Add(preStop)) {
				s.Errorf("%s: failed %s after the deletion, while all pods had to serve on: %s", v.Name, r.Ended().Sub(deleted).Round(time.Millisecond), r.Err)
			}
		}
	}
	s.step("the shop is closed", func() {})
	for _, v := range s.visitors {
		for _, r := range v.latest {
			if !strings.Contains(r.Err, "refused") || r.Took > time.Second {
				s.Errorf("%s: after %s: %q, want it refused at once", v.Name, r.Took.Round(time.Millisecond), r.Err)
			}
		}
	}
}

// settle waits until no pod of the shop comes or goes, and all nodes have rules for those that are there, and for no others.
func (s *shopTest) settle() {
	s.Helper()
	s.must(cluster.Until(s.ctx(), "the shop has settled", func(ctx context.Context) error {
		deployments, err := s.c.Client.AppsV1().Deployments(shopNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		wanted := 0
		for _, d := range deployments.Items {
			if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != *d.Spec.Replicas {
				return fmt.Errorf("Deployment %s is not rolled out", d.Name)
			}
			wanted += int(*d.Spec.Replicas)
		}
		pods := s.pods("")
		if len(pods) != wanted {
			return fmt.Errorf("%d pods, want %d", len(pods), wanted)
		}
		for _, p := range pods {
			if p.DeletionTimestamp != nil || !isReady(&p) {
				return fmt.Errorf("pod %s is not ready, or is going", p.Name)
			}
		}
		return s.rulesLeadTo(pods)
	}))
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// pods returns the pods of an app; of all, if it is empty.
func (s *shopTest) pods(app string) []corev1.Pod {
	s.Helper()
	var options metav1.ListOptions
	if app != "" {
		options.LabelSelector = "app=" + app
	}
	list, err := s.c.Client.CoreV1().Pods(shopNamespace).List(s.ctx(), options)
	s.must(err)
	return list.Items
}

func (s *shopTest) patch(app, patch string) {
	s.Helper()
	_, err := s.c.Client.AppsV1().Deployments(shopNamespace).Patch(s.ctx(), app, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	s.must(err)
}

// manifest returns the Deployment and the Service of an app. The demo's Services are IPv4 only, and its pods in a
// hurry; these get both families, and more time.
func (s *shopTest) manifest(app string) (deployment, service string) {
	s.Helper()
	text, err := shop.Manifest(app)
	s.must(err)
	deployment, service, ok := strings.Cut(string(text), "\n---\n")
	const spec, hook = "\nspec:\n", "seconds: 2"
	if !ok || strings.Count(service, spec) != 1 || strings.Count(deployment, hook) != 1 {
		s.Fatalf("manifest of %s: want a Deployment with a preStop hook of two seconds, then a Service:\n%s", app, text)
	}
	deployment = strings.Replace(deployment, hook, fmt.Sprintf("seconds: %.0f", preStop.Seconds()), 1)
	return deployment, strings.Replace(service, spec, spec+"  ipFamilyPolicy: RequireDualStack\n", 1)
}

// ctx returns a context for what must happen soon.
func (s *shopTest) ctx() context.Context {
	s.Helper()
	return patient(s.T)
}

func (s *shopTest) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}
