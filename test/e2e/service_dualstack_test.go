package e2e

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// A Service has the families that it asks for, in that order, and answers by these.
func TestFamiliesOfAService(t *testing.T) {
	t.Parallel()
	g := newGround(t, "families")
	pods := g.serve("web", 0, 1)
	type families = []corev1.IPFamily
	for _, test := range []struct {
		name   string
		policy corev1.IPFamilyPolicy
		asks   families
		want   families
	}{
		{"default", "", nil, families{corev1.IPv4Protocol}},
		{"ipv4", corev1.IPFamilyPolicySingleStack, families{corev1.IPv4Protocol}, families{corev1.IPv4Protocol}},
		{"ipv6", corev1.IPFamilyPolicySingleStack, families{corev1.IPv6Protocol}, families{corev1.IPv6Protocol}},
		{"ipv4-ipv6", corev1.IPFamilyPolicyRequireDualStack, families{corev1.IPv4Protocol, corev1.IPv6Protocol}, families{corev1.IPv4Protocol, corev1.IPv6Protocol}},
		{"ipv6-ipv4", corev1.IPFamilyPolicyRequireDualStack, families{corev1.IPv6Protocol, corev1.IPv4Protocol}, families{corev1.IPv6Protocol, corev1.IPv4Protocol}},
	} {
		s := g.service(test.name, "web", ofType(corev1.ServiceTypeNodePort), func(s *corev1.Service) {
			s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = test.asks, nil
			if test.policy != "" {
				s.Spec.IPFamilyPolicy = &test.policy
			}
		})
		var got families
		for _, ip := range s.Spec.ClusterIPs {
			family := corev1.IPv4Protocol
			if netip.MustParseAddr(ip).Is6() {
				family = corev1.IPv6Protocol
			}
			got = append(got, family)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: families of the cluster IPs (-want +got):\n%s", test.name, diff)
		}
		g.reaches(g.pod(2), s.clusterIP(), pods...)
		g.reaches(g.outside(), s.nodePorts(0), pods...)
	}
}

// Pods have addresses of both families, as their nodes do, and are reached at both.
func TestPodsHaveBothFamilies(t *testing.T) {
	t.Parallel()
	g := newGround(t, "pod-families")
	g.serve("web", 0)
	s := g.service("web", "web")
	p := g.awaitReady("web-1")
	if len(p.Status.PodIPs) != 2 || len(p.Status.HostIPs) != 2 {
		t.Fatalf("pod IPs %v, host IPs %v; want two of each", p.Status.PodIPs, p.Status.HostIPs)
	}
	for _, ip := range p.Status.PodIPs {
		g.reaches(g.pod(1), s.podDoors("web-1", netip.MustParseAddr(ip.IP)), "web-1")
	}
}
