package file

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// setServiceDefaults fills in what an API server derives from other fields of a Service and what convert
// depends on: clusterIP and clusterIPs stand for each other, and ipFamilies tells of which family each of them
// is. An API server does the same in pkg/registry/core/service/storage/alloc.go; but it also assigns addresses.
func setServiceDefaults(s *corev1.Service) {
	spec := &s.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if spec.ClusterIP == "" && len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	if len(spec.IPFamilies) > 0 || spec.ClusterIP == corev1.ClusterIPNone {
		return
	}
	for _, ip := range spec.ClusterIPs { // whether it is an address at all is checked later, with a Problem
		family := corev1.IPv4Protocol
		if strings.Contains(ip, ":") {
			family = corev1.IPv6Protocol
		}
		spec.IPFamilies = append(spec.IPFamilies, family)
	}
}
