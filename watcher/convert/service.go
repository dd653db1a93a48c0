package convert

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// labelServiceProxyName gives a Service to another proxy, whatever its value (KEP-2447).
const labelServiceProxyName = "service.kubernetes.io/service-proxy-name"

// How long a client keeps its endpoint, in seconds: by default, and at most (both from the API).
const (
	defaultAffinity = corev1.DefaultClientIPServiceAffinitySeconds
	maxAffinity     = 86400
)

// Service returns the Service as each IP family sees that it has a cluster IP of: at most one value per family,
// IPv4 first. A headless Service, one of type ExternalName and one that belongs to another proxy give none.
func Service(s *corev1.Service) ([]*model.Service, []model.Problem) {
	if s == nil || !served(s) {
		return nil, nil
	}
	r := newReport("Service", s.Namespace, s.Name)
	if !r.names(s.Namespace, s.Name, "the Service is left out") {
		return nil, r.problems
	}
	clusterIPs := r.clusterIPs(&s.Spec)
	if len(clusterIPs) == 0 {
		return nil, r.problems
	}
	common := r.policies(s)
	common.Name = model.ServiceName{Namespace: s.Namespace, Name: s.Name}
	if common.Ports = r.servicePorts(s.Spec.Ports); len(common.Ports) == 0 {
		r.add("spec.ports", "there is no usable port; the Service is left out")
		return nil, r.problems
	}
	externalIPs, vips := r.externalIPs(s.Spec.ExternalIPs), r.vips(s.Status.LoadBalancer.Ingress)
	ranges := r.sourceRanges(s.Spec.LoadBalancerSourceRanges)

	var perFamily []*model.Service
	for _, f := range ipproto.Families {
		ip, ok := clusterIPs[f]
		if !ok {
			continue
		}
		one := common
		one.ClusterIP = ip
		one.ExternalIPs, one.VIPs = ofFamily(f, externalIPs), ofFamily(f, vips)
		var closed bool
		if one.SourceRanges, closed = ranges.of(f); closed && len(one.VIPs) > 0 {
			r.add("spec.loadBalancerSourceRanges", "no readable range is left for %s, which would admit everybody; "+
				"the %[1]s load-balancer addresses are left out", familyName(f))
			one.VIPs = nil
		}
		perFamily = append(perFamily, &one)
	}
	return perFamily, r.problems
}

// served reports whether the Service is one for this proxy to serve at all.
func served(s *corev1.Service) bool {
	if _, other := s.Labels[labelServiceProxyName]; other || s.Spec.Type == corev1.ServiceTypeExternalName {
		return false
	}
	headless := s.Spec.ClusterIP == corev1.ClusterIPNone ||
		s.Spec.ClusterIP == "" && len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
	return !headless
}

// clusterIPs returns the cluster IP of each family: element i of spec.clusterIPs belongs to the family that
// element i of spec.ipFamilies names. Objects older than dual stack have spec.clusterIP alone.
func (r *report) clusterIPs(spec *corev1.ServiceSpec) map[ipproto.Family]netip.Addr {
	texts, field := spec.ClusterIPs, "spec.clusterIPs[%d]"
	if len(spec.IPFamilies) == 0 || len(texts) == 0 {
		texts, field = []string{spec.ClusterIP}, "spec.clusterIP"
	}
	if texts[0] == "" {
		r.add("spec.clusterIP", "there is no address, and only an API server could assign one; the Service is left out")
		return nil
	}
	ips := map[ipproto.Family]netip.Addr{}
	for i, text := range texts {
		field := indexed(field, i)
		if i > 0 && i >= len(spec.IPFamilies) {
			break
		}
		ip, err := ParseAddr(text)
		if err != nil {
			r.add(field, "%v; the Service has no rules for its family", err)
			continue
		}
		if what := special(ip); what != "" && !ip.IsLinkLocalUnicast() { // some clusters draw them from 169.254.0.0/16
			r.add(field, "%v is %s; the Service has no rules for its family", ip, what)
			continue
		}
		f := ipproto.FamilyOf(ip)
		if i < len(spec.IPFamilies) && string(spec.IPFamilies[i]) != familyName(f) {
			r.add(field, "%v is not of the family %q that spec.ipFamilies says; the address is left out", ip, clip(string(spec.IPFamilies[i])))
			continue
		}
		if _, ok := ips[f]; ok {
			r.add(field, "%v is the second address of its family; it is left out", ip)
			continue
		}
		ips[f] = ip
	}
	return ips
}

// policies returns a Service with what is the same in both families and needs no other part of the object.
func (r *report) policies(s *corev1.Service) model.Service {
	var m model.Service
	spec := &s.Spec
	kind := spec.Type
	switch kind {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
	case "":
		kind = corev1.ServiceTypeClusterIP
	default:
		r.add("spec.type", "%q is unknown; the Service is treated as ClusterIP", clip(string(kind)))
		kind = corev1.ServiceTypeClusterIP
	}
	m.Affinity = r.affinity(spec)

	if p := spec.InternalTrafficPolicy; p != nil {
		switch *p {
		case corev1.ServiceInternalTrafficPolicyLocal:
			m.InternalLocal = true
		case corev1.ServiceInternalTrafficPolicyCluster, "":
		default:
			r.add("spec.internalTrafficPolicy", "%q is unknown; it is treated as Cluster", clip(string(*p)))
		}
	}
	switch p := spec.ExternalTrafficPolicy; p {
	case corev1.ServiceExternalTrafficPolicyLocal:
		m.ExternalLocal = kind != corev1.ServiceTypeClusterIP || len(spec.ExternalIPs) > 0
	case corev1.ServiceExternalTrafficPolicyCluster, "":
	default:
		r.add("spec.externalTrafficPolicy", "%q is unknown; it is treated as Cluster", clip(string(p)))
	}
	if kind == corev1.ServiceTypeLoadBalancer && m.ExternalLocal {
		m.HealthCheckNodePort = r.healthCheckNodePort(spec.HealthCheckNodePort)
	}
	return m
}

// affinity returns how long a client keeps its endpoint. A missing configuration is not an error: the reference
// panics on it, but the API documents the default.
func (r *report) affinity(spec *corev1.ServiceSpec) time.Duration {
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityClientIP:
	case corev1.ServiceAffinityNone, "":
		return 0
	default:
		r.add("spec.sessionAffinity", "%q is unknown; the Service has no affinity", clip(string(spec.SessionAffinity)))
		return 0
	}
	seconds := int32(defaultAffinity)
	if c := spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		const field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
		switch n := *c.ClientIP.TimeoutSeconds; {
		case n < 1:
			r.add(field, "%d is less than 1; clients keep their endpoint for %d s", n, seconds)
		case n > maxAffinity:
			seconds = maxAffinity
			r.add(field, "%d is more than a day; clients keep their endpoint for %d s", n, seconds)
		default:
			seconds = n
		}
	}
	return time.Duration(seconds) * time.Second
}

// servicePorts returns the usable ports in the order of the object.
func (r *report) servicePorts(ports []corev1.ServicePort) []model.ServicePort {
	type number struct {
		port  uint16
		proto ipproto.Proto
	}
	var kept []model.ServicePort
	keys, numbers, nodePorts := map[model.PortKey]bool{}, map[number]bool{}, map[number]bool{}
	for i := range ports {
		p, field := &ports[i], indexed("spec.ports[%d]", i)
		key, ok := r.portKey(field, p.Name, string(p.Protocol))
		if !ok {
			continue
		}
		n, ok := r.port(field+".port", p.Port, "the port is left out")
		if !ok {
			continue
		}
		if keys[key] {
			r.add(field+".name", "%q is used twice with protocol %v; the second port is left out", key.Name, key.Proto)
			continue
		}
		if numbers[number{n, key.Proto}] {
			r.add(field+".port", "%d is used twice with protocol %v; the second port is left out", n, key.Proto)
			continue
		}
		keys[key], numbers[number{n, key.Proto}] = true, true

		nodePort := r.nodePort(field+".nodePort", p.NodePort)
		if nodePort != 0 && nodePorts[number{nodePort, key.Proto}] {
			r.add(field+".nodePort", "%d is used twice with protocol %v; the second port has no node port", nodePort, key.Proto)
			nodePort = 0
		}
		nodePorts[number{nodePort, key.Proto}] = true
		kept = append(kept, model.ServicePort{PortKey: key, Port: n, NodePort: nodePort})
	}
	return slices.Clip(kept)
}

// nodePort checks a node port; zero is none, and fine.
func (r *report) nodePort(field string, n int32) uint16 {
	if n == 0 {
		return 0
	}
	number, _ := r.port(field, n, "the port has no node port")
	return number
}

// healthCheckNodePort checks the port that a load balancer with external traffic policy Local must have.
func (r *report) healthCheckNodePort(n int32) uint16 {
	const field, follows = "spec.healthCheckNodePort", "load balancers cannot ask this node for its endpoints"
	if n == 0 {
		r.add(field, "it is zero although the external traffic policy is Local; %s", follows)
		return 0
	}
	number, _ := r.port(field, n, follows)
	return number
}
