package recorded

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"espalier/proxier/ipproto"
)

// Objects returns a cluster as the API has it: the node, the Services, and a slice of each family for those of them
// that have endpoints.
func Objects(cluster []Service) []runtime.Object {
	objects := []runtime.Object{nodeObject()}
	for _, s := range cluster {
		objects = append(objects, s.object())
		for _, f := range ipproto.Families {
			if s.Endpoints > 0 {
				objects = append(objects, s.slice(f))
			}
		}
	}
	return objects
}

func nodeObject() *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: NodeName}}
	for _, f := range ipproto.Families {
		node.Status.Addresses = append(node.Status.Addresses,
			corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: NodeIP(f).String()})
	}
	return node
}

// object returns the Service with what the API server would have filled in.
func (s Service) object() *corev1.Service {
	four, six := ipproto.IPv4, ipproto.IPv6
	policy, internal := corev1.IPFamilyPolicyRequireDualStack, corev1.ServiceInternalTrafficPolicyCluster
	if s.Kind == InternalLocal {
		internal = corev1.ServiceInternalTrafficPolicyLocal
	}
	o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}}
	o.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, InternalTrafficPolicy: &internal, SessionAffinity: corev1.ServiceAffinityNone,
		ClusterIP: s.ClusterIP(four).String(), ClusterIPs: []string{s.ClusterIP(four).String(), s.ClusterIP(six).String()},
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, IPFamilyPolicy: &policy,
		HealthCheckNodePort: int32(s.HealthPort),
	}
	for _, p := range s.Ports {
		o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{
			Name: p.Name, Protocol: protocol(p.Proto), Port: int32(p.Port), NodePort: int32(p.NodePort),
		})
	}
	if s.Is(Affinity) {
		timeout := corev1.DefaultClientIPServiceAffinitySeconds
		o.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		o.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
	}
	s.expose(o)
	return o
}

// expose adds what leads to the Service from outside.
func (s Service) expose(o *corev1.Service) {
	four, six := ipproto.IPv4, ipproto.IPv6
	if s.Kind == NodePort {
		o.Spec.Type = corev1.ServiceTypeNodePort
	}
	if s.Kind == ExternalIP {
		o.Spec.ExternalIPs = []string{s.ExternalIP(four).String(), s.ExternalIP(six).String()}
	}
	if s.LoadBalanced() {
		o.Spec.Type = corev1.ServiceTypeLoadBalancer
		o.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: s.VIP(four).String()}, {IP: s.VIP(six).String()}}
	}
	if s.Is(Ranges) {
		o.Spec.LoadBalancerSourceRanges = []string{SourceRange(four).String(), SourceRange(six).String()}
	}
	if o.Spec.Type != corev1.ServiceTypeClusterIP || len(o.Spec.ExternalIPs) > 0 {
		o.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	}
	if s.External() {
		o.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
}

func (s Service) slice(f ipproto.Family) *discoveryv1.EndpointSlice {
	yes, no := true, false
	o := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: s.Name + "-" + f.String(), Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	if f == ipproto.IPv6 {
		o.AddressType = discoveryv1.AddressTypeIPv6
	}
	for _, p := range s.Ports {
		name, proto, port := p.Name, protocol(p.Proto), int32(p.Port)
		o.Ports = append(o.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &proto, Port: &port})
	}
	for e := range s.Endpoints {
		node := "another-node"
		if s.Local(e) {
			node = NodeName
		}
		o.Endpoints = append(o.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{s.Endpoint(f, e).String()},
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			NodeName:   &node,
		})
	}
	return o
}

func protocol(p ipproto.Proto) corev1.Protocol { return corev1.Protocol(strings.ToUpper(p.String())) }
