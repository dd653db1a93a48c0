package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"espalier/test/netns/lab"
)

// Pods, nodes, and the endpoints themselves reach a Service by every protocol and family: at its cluster IPs, and at the
// node ports of all nodes. So does a host outside, at the node ports.
func TestServiceIsReachedByAllFromEverywhere(t *testing.T) {
	t.Parallel()
	g := newGround(t, "granular")
	pods := g.serve("web", everywhere...)
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort))
	for _, from := range []*lab.Namespace{g.pod(0), g.node(1), g.inside("web-3")} {
		g.reaches(from, s.clusterIP(), pods...)
		g.reaches(from, s.nodePorts(everywhere...), pods...)
	}
	g.reaches(g.outside(), s.nodePorts(everywhere...), pods...)
}

// A large request needs more than one packet; a large datagram is fragmented.
func TestServiceTakesLargeRequests(t *testing.T) {
	t.Parallel()
	g := newGround(t, "large")
	g.serve("web", 1)
	s := g.service("web", "web")
	message := strings.Repeat("42", 1000)
	for _, d := range s.clusterIP() {
		g.becomes("a message of 2000 bytes comes back from "+d.String(), func(ctx context.Context) error {
			text, err := d.ask(ctx, g.pod(0), answerTimeout, "echo", message)
			if err == nil && text != message {
				err = fmt.Errorf("%d bytes come back: %.50s…", len(text), text)
			}
			return err
		})
	}
}

// Endpoints come and go, and with the last one, clients are refused.
func TestServiceFollowsItsPods(t *testing.T) {
	t.Parallel()
	g := newGround(t, "follows")
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort))
	all := append(s.clusterIP(), s.nodePorts(0)...)
	g.refuses(g.pod(1), all)
	g.refuses(g.node(1), all)

	g.start("web", "one", 0)
	g.reaches(g.pod(1), all, "one")
	g.start("web", "two", 2)
	g.reaches(g.pod(1), all, "one", "two")
	g.stop("one")
	g.reaches(g.pod(1), all, "two")
	g.label("two", "app", "other")
	g.refuses(g.pod(1), all)
	g.refuses(g.outside(), s.nodePorts(0))
}

// Several Services with the same pods do not disturb each other.
func TestServicesWithTheSamePods(t *testing.T) {
	t.Parallel()
	g := newGround(t, "same-pods")
	pods := g.serve("web", 0, 1)
	first, second := g.service("first", "web"), g.service("second", "web")
	g.reaches(g.pod(2), first.clusterIP(), pods...)
	g.reaches(g.pod(2), second.clusterIP(), pods...)
	first.remove()
	g.misses(g.pod(2), first.clusterIP())
	g.reaches(g.pod(2), second.clusterIP(), pods...)
}

// Services come and go beside each other, and one can come back.
func TestServicesGoUpAndDown(t *testing.T) {
	t.Parallel()
	g := newGround(t, "up-and-down")
	ones, twos := g.serve("one", 0, 1), g.serve("two", 1, 2)
	one, two := g.service("one", "one"), g.service("two", "two")
	for _, from := range []*lab.Namespace{g.pod(0), g.node(2)} {
		g.reaches(from, one.clusterIP(), ones...)
		g.reaches(from, two.clusterIP(), twos...)
	}
	one.remove()
	g.misses(g.node(2), one.clusterIP())
	g.reaches(g.node(2), two.clusterIP(), twos...)

	threes := g.serve("three", 0)
	three := g.service("three", "three")
	again := g.service("one", "one", func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = one.Spec.ClusterIP, one.Spec.ClusterIPs })
	for _, from := range []*lab.Namespace{g.pod(0), g.node(2)} {
		g.reaches(from, again.clusterIP(), ones...)
		g.reaches(from, two.clusterIP(), twos...)
		g.reaches(from, three.clusterIP(), threes...)
	}
}

// A pod reaches itself through its Service.
func TestPodReachesItselfThroughItsService(t *testing.T) {
	t.Parallel()
	g := newGround(t, "hairpin")
	g.serve("web", 0)
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort))
	g.reaches(g.inside("web-1"), s.clusterIP(), "web-1")
	g.reaches(g.inside("web-1"), s.nodePorts(0, 1), "web-1")
}

// A pod sees which pod it is that asks it by a cluster IP, and without a Service, on the same node and on another.
func TestPodsSeeWhoAsks(t *testing.T) {
	t.Parallel()
	g := newGround(t, "source")
	g.serve("web", 0)
	s := g.service("web", "web")
	for _, node := range []int{0, 1} {
		client := g.client(node)
		g.seenAs(client.Namespace, s.clusterIP(), client.Addrs...)
		for _, a := range client.Addrs {
			g.seenAs(client.Namespace, s.podDoors("web-1", a), a)
		}
	}
}

// Each port has endpoints of its own.
func TestServiceWithSeveralPorts(t *testing.T) {
	t.Parallel()
	g := newGround(t, "multiport")
	both := func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{
			{Name: "portname1", Port: 80, TargetPort: intstr.FromString("portname1")},
			{Name: "portname2", Port: 81, TargetPort: intstr.FromString("portname2")},
		}
	}
	s := g.service("web", "web", both)
	eighty, eightyOne := s.only("portname1"), s.only("portname2")
	g.refuses(g.pod(0), append(eighty, eightyOne...))
	g.start("web", "one", 0, listening("portname1", 100))
	g.reaches(g.pod(0), eighty, "one")
	g.refuses(g.pod(0), eightyOne)
	g.start("web", "two", 1, listening("portname2", 101))
	g.reaches(g.pod(0), eightyOne, "two")
	g.reaches(g.pod(0), eighty, "one")
	g.stop("one")
	g.refuses(g.pod(0), eighty)
	g.reaches(g.pod(0), eightyOne, "two")
}

// A name of a port means another number on each pod.
func TestNamedPortIsAnotherNumberOnEachPod(t *testing.T) {
	t.Parallel()
	g := newGround(t, "named")
	g.start("web", "one", 0, listening("web-port", 8000))
	g.start("web", "two", 1, listening("web-port", 9000))
	s := g.service("web", "web", func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("web-port")}}
	})
	g.reaches(g.pod(2), s.clusterIP(), "one", "two")
}

// Ports are added to a Service, removed, and renumbered.
func TestPortsOfAServiceChange(t *testing.T) {
	t.Parallel()
	g := newGround(t, "ports-change")
	pods := g.serve("web", 0, 1)
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort), func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] })
	from := []*lab.Namespace{g.pod(2), g.node(2)}
	for _, f := range from {
		g.reaches(f, append(s.clusterIP(), s.nodePorts(0)...), pods...)
	}
	s.change(func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "more", Port: 8080, TargetPort: intstr.FromInt32(8080)})
	})
	for _, f := range from {
		g.reaches(f, append(s.clusterIP(), s.nodePorts(0)...), pods...)
	}
	before, gone := s.only("more"), s.only("http")
	s.change(func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[1:] })
	for _, f := range from {
		g.reaches(f, before, pods...)
		g.misses(f, gone)
	}
	s.change(func(s *corev1.Service) { s.Spec.Ports[0].Port = 8888 })
	for _, f := range from {
		g.reaches(f, s.clusterIP(), pods...)
		g.misses(f, before)
	}
}

// One port number is two ports, of TCP and of UDP, that come and go one by one.
func TestSamePortOfTwoProtocols(t *testing.T) {
	t.Parallel()
	for _, kind := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "protocols-"+strings.ToLower(string(kind)))
			pods := g.serve("web", 0)
			ports := []corev1.ServicePort{
				{Name: "tcp", Port: 90, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP},
				{Name: "udp", Port: 90, TargetPort: intstr.FromString("udp"), Protocol: corev1.ProtocolUDP},
			}
			s := g.service("web", "web", ofType(kind), func(s *corev1.Service) { s.Spec.Ports = ports })
			if kind != corev1.ServiceTypeClusterIP { // the same number for both, too
				s.change(func(s *corev1.Service) { s.Spec.Ports[1].NodePort = s.Spec.Ports[0].NodePort })
				g.reaches(g.pod(1), s.nodePorts(0, 1), pods...)
				g.reaches(g.outside(), s.nodePorts(0, 1), pods...)
			}
			all := s.clusterIP()
			g.reaches(g.pod(1), all, pods...)
			s.change(func(s *corev1.Service) { s.Spec.Ports = ports[:1] })
			g.reaches(g.pod(1), tcp(all), pods...)
			g.misses(g.pod(1), udp(all))
			s.change(func(s *corev1.Service) { s.Spec.Ports = ports[1:] })
			g.reaches(g.pod(1), udp(all), pods...)
			g.misses(g.pod(1), tcp(all))
		})
	}
}

// Pods in the network of their node are endpoints as good as others.
func TestEndpointsInTheHostNetwork(t *testing.T) {
	t.Parallel()
	g := newGround(t, "host-network")
	pods := g.serveAs("web", hostNetwork(18080), everywhere...)
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort))
	all := append(s.clusterIP(), s.nodePorts(0)...)
	g.reaches(g.pod(0), all, pods...)
	g.reaches(g.node(0), all, pods...)
	g.reaches(g.outside(), s.nodePorts(1), pods...)
}
