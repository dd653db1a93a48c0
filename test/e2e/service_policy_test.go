package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"espalier/test/netns/lab"
)

func internalLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
}

func externalLocal(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// With the internal policy Local, pods and processes of a node reach the endpoints of their node, and where there are none,
// they get no answer; whether pods and endpoints have a network of their own or that of the node.
func TestInternalTrafficPolicyLocal(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*corev1.Pod){"pods": nil, "host-network": hostNetwork(18090)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "internal-local-"+name)
			g.serveAs("web", change, 0, 1)
			s := g.service("web", "web", internalLocal)
			for _, from := range []func(int) *lab.Namespace{g.pod, g.node} {
				g.reaches(from(0), s.clusterIP(), "web-1")
				g.reaches(from(1), s.clusterIP(), "web-2")
				g.ignores(from(2), s.clusterIP())
			}
			s.change(func(s *corev1.Service) {
				s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyCluster)
			})
			g.reaches(g.pod(2), s.clusterIP(), "web-1", "web-2")
		})
	}
}

// With the external policy Local, a node port leads to the endpoints of its node, which see who asks, and nowhere else.
// Clients of the cluster are not bound by that policy.
func TestExternalTrafficPolicyLocal(t *testing.T) {
	t.Parallel()
	g := newGround(t, "external-local")
	g.serve("web", 0, 1)
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort), externalLocal)
	g.reaches(g.outside(), s.nodePorts(0), "web-1")
	g.reaches(g.outside(), s.nodePorts(1), "web-2")
	g.ignores(g.outside(), s.nodePorts(2))
	g.seenAs(g.outside(), s.nodePorts(0, 1), g.c.Outside().Addrs...)
	g.reaches(g.pod(2), s.clusterIP(), "web-1", "web-2")
	g.reaches(g.node(2), s.nodePorts(2), "web-1", "web-2")

	s.change(func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster })
	g.reaches(g.outside(), s.nodePorts(everywhere...), "web-1", "web-2")
	g.seenAs(g.outside(), tcp(s.nodePorts(2)), g.addrs(g.node(2))...)
}

// healthy waits until the health-check node port of a Service answers with a status on a node.
func (s *service) healthy(node int, port int32, want int) {
	s.g.t.Helper()
	for _, a := range s.g.c.Nodes[node].Addrs {
		url := fmt.Sprintf("http://%s/healthz", netip.AddrPortFrom(a, uint16(port)))
		s.g.becomes(fmt.Sprintf("%s answers %d", url, want), func(ctx context.Context) error {
			status, body, err := get(ctx, s.g.outside(), answerTimeout, url)
			if err == nil && status != want {
				err = fmt.Errorf("it answers %d: %s", status, body)
			}
			return err
		})
	}
}

// The health-check node port says which nodes have endpoints, comes and goes with the policy, and turns bad on a node whose
// endpoints all terminate.
func TestHealthCheckNodePort(t *testing.T) {
	t.Parallel()
	g := newGround(t, "health-check")
	g.serveAs("web", lingering, 0)
	s := g.service("web", "web", ofType(corev1.ServiceTypeLoadBalancer), externalLocal)
	vips := s.balance(0)
	port := s.Spec.HealthCheckNodePort
	s.healthy(0, port, 200)
	s.healthy(1, port, 503)
	g.reaches(g.outside(), s.at(vips...), "web-1")

	g.start("web", "web-2", 1) // nodes with endpoints become targets
	s.healthy(1, port, 200)
	g.route(1, vips...)
	g.reaches(g.outside(), s.at(vips...), "web-2")

	s.change(func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyCluster, 0
	})
	g.reaches(g.outside(), s.at(vips...), "web-1", "web-2")
	g.refuses(g.outside(), []door{{netip.AddrPortFrom(g.c.Nodes[0].Addrs[0], uint16(port)), false}})

	s.change(func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, port
	})
	s.healthy(0, port, 200)
	g.stop("web-1") // it goes on to answer
	s.healthy(0, port, 503)
	s.healthy(1, port, 200)
	g.route(0, vips...)
	g.reaches(g.outside(), s.at(vips...), "web-1")
}

// lingering is a change of a pod: it goes on to serve, and to be ready, long after it was deleted.
func lingering(p *corev1.Pod) {
	p.Spec.TerminationGracePeriodSeconds = new(int64(120))
	p.Spec.Containers[0].Args = append(p.Spec.Containers[0].Args, "--delay-shutdown=100")
}

// When all endpoints terminate, they are used as long as they serve; with a policy Local, those of the node alone.
func TestTerminatingEndpointsServeWhenThereAreNoOthers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*corev1.Service)
		local  bool
		by     string // internal or external
	}{
		{"internal-cluster", func(*corev1.Service) {}, false, "internal"},
		{"internal-local", internalLocal, true, "internal"},
		{"external-cluster", ofType(corev1.ServiceTypeNodePort), false, "external"},
		{"external-local", func(s *corev1.Service) { ofType(corev1.ServiceTypeNodePort)(s); externalLocal(s) }, true, "external"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "terminating-"+test.name)
			g.serveAs("web", lingering, 0)
			s := g.service("web", "web", test.change)
			reaches := func(node int, pods ...string) {
				if test.by == "internal" {
					g.reaches(g.pod(node), s.clusterIP(), pods...)
					return
				}
				g.reaches(g.outside(), s.nodePorts(node), pods...)
			}
			reaches(0, "web-1")
			g.stop("web-1")
			g.awaitPod("web-1", "terminates", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
			g.awaitSlice("web", "a terminating endpoint", func(ready, serving, terminating bool) bool { return !ready && serving && terminating })
			reaches(0, "web-1")
			other := 1
			switch {
			case !test.local:
				reaches(other, "web-1")
			case strings.HasPrefix(test.name, "internal"):
				g.ignores(g.pod(other), s.clusterIP())
			default:
				g.ignores(g.outside(), s.nodePorts(other))
			}
			g.start("web", "web-2", other) // a ready one is better, if the policy allows it
			reaches(other, "web-2")
			if test.local {
				reaches(0, "web-1")
			} else {
				reaches(0, "web-2")
			}
		})
	}
}
