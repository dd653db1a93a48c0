package e2e

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Each node of the cluster is in a zone of its own. Clients go to the endpoints of their zone or node, by cluster IPs and by
// node ports, and to others when there are none.
func TestTrafficDistribution(t *testing.T) {
	t.Parallel()
	for name, wish := range map[string]string{
		"close": corev1.ServiceTrafficDistributionPreferClose, "same-zone": corev1.ServiceTrafficDistributionPreferSameZone,
		"same-node": corev1.ServiceTrafficDistributionPreferSameNode,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "distribution-"+name)
			pods := g.serve("web", 0, 1)
			s := g.service("web", "web", func(s *corev1.Service) { s.Spec.TrafficDistribution = &wish })
			for node := range 2 {
				g.reaches(g.pod(node), s.clusterIP(), pods[node])
				g.reaches(g.node(node), s.clusterIP(), pods[node])
			}
			g.reaches(g.pod(2), s.clusterIP(), pods...)
			g.stop("web-1")
			g.reaches(g.pod(0), s.clusterIP(), "web-2")
			g.start("web", "web-3", 0)
			g.reaches(g.pod(0), s.clusterIP(), "web-3")
			s.change(func(s *corev1.Service) { s.Spec.TrafficDistribution = nil })
			g.reaches(g.pod(0), s.clusterIP(), "web-2", "web-3")
		})
	}
}

// With the annotation for hints, endpoints that are spread over all zones serve their own zone.
func TestTopologyHints(t *testing.T) {
	t.Parallel()
	g := newGround(t, "hints")
	g.serve("web", everywhere...)
	s := g.service("web", "web", func(s *corev1.Service) { s.Annotations = map[string]string{corev1.AnnotationTopologyMode: "Auto"} })
	for node := range everywhere {
		g.reaches(g.pod(node), s.clusterIP(), fmt.Sprintf("web-%d", node+1))
	}
}
