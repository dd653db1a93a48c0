package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"espalier/test/netns/lab"
)

// A name outside the cluster becomes a Service with endpoints, and the other way round.
func TestExternalNameBecomesAServiceAndBack(t *testing.T) {
	t.Parallel()
	for _, kind := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "external-name-"+map[corev1.ServiceType]string{corev1.ServiceTypeClusterIP: "clusterip", corev1.ServiceTypeNodePort: "nodeport"}[kind])
			pods := g.serve("web", 0, 1)
			s := g.service("web", "web", func(s *corev1.Service) {
				s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}
			})
			like := g.service("like", "web", ofType(kind)) // what it is to become
			s.change(func(s *corev1.Service) {
				ip := s.Spec.ClusterIP
				s.Spec = *like.Spec.DeepCopy()
				s.Spec.ClusterIP, s.Spec.ClusterIPs = ip, nil
				for i := range s.Spec.Ports {
					s.Spec.Ports[i].NodePort = 0
				}
			})
			doors := s.clusterIP()
			if kind == corev1.ServiceTypeNodePort {
				doors = append(doors, s.nodePorts(0, 2)...)
			}
			for _, from := range []*lab.Namespace{g.pod(2), g.node(2)} {
				g.reaches(from, doors, pods...)
			}
			s.change(func(s *corev1.Service) {
				s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}
			})
			for _, from := range []*lab.Namespace{g.pod(2), g.node(2)} {
				g.misses(from, doors)
			}
		})
	}
}

// A Service gets node ports, other node ports, a load balancer, another port, and loses them again, while its cluster IP
// stays.
func TestTypeAndPortsChange(t *testing.T) {
	t.Parallel()
	g := newGround(t, "types")
	pods := g.serve("web", 0, 1)
	s := g.service("web", "web")
	stays := s.clusterIP()
	g.reaches(g.pod(2), stays, pods...)

	s.change(ofType(corev1.ServiceTypeNodePort))
	first := s.nodePorts(everywhere...)
	g.reaches(g.outside(), first, pods...)
	g.reaches(g.pod(2), stays, pods...)

	s.change(ofType(corev1.ServiceTypeLoadBalancer))
	vips := s.balance(0)
	g.reaches(g.outside(), s.at(vips...), pods...)
	g.reaches(g.outside(), first, pods...)

	s.change(func(s *corev1.Service) {
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = 0 // another one
		}
		s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort = s.Spec.Ports[1].NodePort, s.Spec.Ports[0].NodePort
	})
	second := s.nodePorts(everywhere...)
	g.reaches(g.outside(), second, pods...)
	g.reaches(g.outside(), s.at(vips...), pods...)

	s.change(func(s *corev1.Service) { s.Spec.Ports[0].Port, s.Spec.Ports[1].Port = 180, 181 })
	g.reaches(g.outside(), s.at(vips...), pods...)
	g.reaches(g.pod(2), s.clusterIP(), pods...)
	g.misses(g.pod(2), stays)

	s.change(ofType(corev1.ServiceTypeClusterIP))
	g.reaches(g.pod(2), s.clusterIP(), pods...)
	g.misses(g.outside(), second)
	g.misses(g.outside(), s.at(vips...))
}

// A load balancer that needs no node ports gets some, and gives them back.
func TestLoadBalancerWithoutNodePorts(t *testing.T) {
	t.Parallel()
	g := newGround(t, "no-node-ports")
	pods := g.serve("web", 0, 1)
	s := g.service("web", "web", ofType(corev1.ServiceTypeLoadBalancer), func(s *corev1.Service) {
		s.Spec.AllocateLoadBalancerNodePorts = new(false)
	})
	vips := s.balance(1)
	if len(s.nodePorts(everywhere...)) > 0 {
		t.Fatalf("it has node ports: %v", s.Spec.Ports)
	}
	g.reaches(g.outside(), s.at(vips...), pods...)
	s.change(func(s *corev1.Service) { s.Spec.AllocateLoadBalancerNodePorts = new(true) })
	given := s.nodePorts(everywhere...)
	g.reaches(g.outside(), given, pods...)
	g.reaches(g.outside(), s.at(vips...), pods...)
	s.change(func(s *corev1.Service) {
		s.Spec.AllocateLoadBalancerNodePorts = new(false)
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = 0
		}
	})
	g.misses(g.outside(), given)
	g.reaches(g.outside(), s.at(vips...), pods...)
}

// A Service answers at an external IP that no node has, for pods, nodes, and a host outside.
func TestExternalIP(t *testing.T) {
	t.Parallel()
	g := newGround(t, "external-ip")
	pods := g.serve("web", 0, 1)
	vips := g.vips(2)
	s := g.service("web", "web", func(s *corev1.Service) {
		for _, ip := range vips {
			s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, ip.String())
		}
	})
	for _, from := range []*lab.Namespace{g.pod(2), g.node(2), g.outside()} {
		g.reaches(from, s.at(vips...), pods...)
	}
	s.change(func(s *corev1.Service) { s.Spec.ExternalIPs = nil })
	for _, from := range []*lab.Namespace{g.pod(2), g.node(2), g.outside()} {
		g.misses(from, s.at(vips...))
	}
}
