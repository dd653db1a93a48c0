package file

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// setIPFamilies fills in spec.ipFamilies from the cluster IPs, as an API server does in
// pkg/registry/core/service/storage/alloc.go: without it, a Service counts as one from before dual stack, with
// spec.clusterIP alone.
func setIPFamilies(s *corev1.Service) {
	if len(s.Spec.IPFamilies) > 0 {
		return
	}
	for _, ip := range s.Spec.ClusterIPs { // whether it is an address at all is checked later, with a Problem
		family := corev1.IPv4Protocol
		if strings.Contains(ip, ":") {
			family = corev1.IPv6Protocol
		}
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, family)
	}
}
