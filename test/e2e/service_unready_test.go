package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"espalier/test/netns/lab"
)

// Where there is no endpoint, clients are told so at once, on every way; also when the only pod has failed.
func TestRefusedWithoutEndpoints(t *testing.T) {
	t.Parallel()
	g := newGround(t, "no-endpoints")
	g.start("web", "failed", 1, func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Args = []string{"--no-such-flag"}
	})
	g.awaitPod("failed", "has failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	s := g.service("web", "web", ofType(corev1.ServiceTypeLoadBalancer))
	vips := s.balance(0)
	all := append(s.clusterIP(), s.nodePorts(0, 1)...)
	g.refuses(g.node(0), all) // kube-proxy says nothing about the load balancer's address to processes of the node
	g.refuses(g.pod(0), append(all, s.at(vips...)...))
	g.refuses(g.outside(), append(s.nodePorts(0, 1), s.at(vips...)...))
	g.serve("web", 0)
	g.reaches(g.outside(), s.at(vips...), "web-1")
}

// asked is a change of a pod: it is ready when it says so. unready is one that never is.
func asked(p *corev1.Pod) {
	p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}},
		PeriodSeconds: 1, FailureThreshold: 1,
	}
}

func unready(p *corev1.Pod) {
	asked(p)
	p.Spec.Containers[0].ReadinessProbe.HTTPGet.Port = intstr.FromInt32(9) // nobody is there
}

func (g *ground) awaitRunning(name string) {
	g.t.Helper()
	g.awaitPod(name, "runs", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
}

// Pods that are not ready, and terminate, are reached if the Service publishes such addresses, and else not.
func TestUnreadyAndTerminatingPods(t *testing.T) {
	t.Parallel()
	for name, publish := range map[string]bool{"published": true, "not-published": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "unready-"+name)
			s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort), func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = publish })
			all := append(s.clusterIP(), s.nodePorts(0, 1)...)
			check := func() {
				t.Helper()
				for _, from := range []*lab.Namespace{g.pod(0), g.node(1)} {
					if publish {
						g.reaches(from, all, "unready")
					} else {
						g.refuses(from, all)
					}
				}
			}
			g.start("web", "unready", 0, unready, lingering)
			g.awaitRunning("unready")
			g.awaitSlice("web", "an endpoint", func(_, _, terminating bool) bool { return !terminating })
			check()
			g.stop("unready")
			g.awaitSlice("web", "a terminating endpoint", func(_, serving, terminating bool) bool { return !serving && terminating })
			check()
		})
	}
}

// A pod that says that it is not ready loses its clients until it is ready again.
func TestReadinessChanges(t *testing.T) {
	t.Parallel()
	g := newGround(t, "ready-changes")
	g.serveAs("web", asked, 0, 1)
	s := g.service("web", "web")
	g.reaches(g.pod(2), s.clusterIP(), "web-1", "web-2")
	g.tell("web-1", "/ready?state=false")
	g.reaches(g.pod(2), s.clusterIP(), "web-2")
	g.tell("web-2", "/ready?state=false")
	g.refuses(g.pod(2), s.clusterIP())
	g.tell("web-1", "/ready?state=true")
	g.reaches(g.pod(2), s.clusterIP(), "web-1")
}

// A Service that belongs to another proxy has no rules; it gets them when its label goes.
func TestServicesOfOthers(t *testing.T) {
	t.Parallel()
	g := newGround(t, "others")
	pods := g.serve("web", 0, 1)
	label := func(s *corev1.Service) {
		s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "foo"}
	}
	ours, theirs := g.service("ours", "web"), g.service("theirs", "web", label)
	g.reaches(g.pod(2), ours.clusterIP(), pods...)
	g.misses(g.pod(2), theirs.clusterIP())

	ours.change(label)
	g.misses(g.pod(2), ours.clusterIP())
	for _, s := range []*service{ours, theirs} {
		s.change(func(s *corev1.Service) { s.Labels = nil })
		g.reaches(g.pod(2), s.clusterIP(), pods...)
	}
}

// tell sends a POST request to a pod.
func (g *ground) tell(name, path string) {
	g.t.Helper()
	g.becomes("pod "+name+" is told "+path, func(ctx context.Context) error { return post(ctx, g.inside(name), "http://127.0.0.1:8080"+path) })
}
