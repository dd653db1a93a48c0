package netns

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// nodeName is the node that the rules are for.
const nodeName = "test-node"

// cluster is a list of API objects.
type cluster []any

// manifests returns the objects as the YAML that a user would write, the own Node included.
func (c cluster) manifests() string {
	node := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.0.2"}}},
	}
	var texts []string
	for _, o := range append([]any{node}, c...) {
		text, err := yaml.Marshal(o)
		if err != nil {
			panic(err)
		}
		texts = append(texts, string(text))
	}
	return strings.Join(texts, "---\n")
}

// without returns the cluster without its EndpointSlices.
func (c cluster) withoutSlices() cluster {
	var rest cluster
	for _, o := range c {
		if _, ok := o.(*discoveryv1.EndpointSlice); !ok {
			rest = append(rest, o)
		}
	}
	return rest
}

// service returns a Service with the name "namespace/name"; the options add to it.
func service(name, clusterIP string, options ...func(*corev1.ServiceSpec, *corev1.ServiceStatus)) *corev1.Service {
	namespace, name, _ := strings.Cut(name, "/")
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: clusterIP, ClusterIPs: []string{clusterIP},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		},
	}
	for _, option := range options {
		option(&s.Spec, &s.Status)
	}
	return s
}

type serviceOption = func(*corev1.ServiceSpec, *corev1.ServiceStatus)

// loadBalancer makes it one of type LoadBalancer with these addresses.
func loadBalancer(vips ...string) serviceOption {
	return func(spec *corev1.ServiceSpec, status *corev1.ServiceStatus) {
		spec.Type = corev1.ServiceTypeLoadBalancer
		for _, ip := range vips {
			status.LoadBalancer.Ingress = append(status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
		}
	}
}

// nodePort makes it one of type NodePort.
func nodePort(spec *corev1.ServiceSpec, _ *corev1.ServiceStatus) {
	spec.Type = corev1.ServiceTypeNodePort
}

// externalIP gives it an external IP.
func externalIP(ip string) serviceOption {
	return func(spec *corev1.ServiceSpec, _ *corev1.ServiceStatus) {
		spec.ExternalIPs = append(spec.ExternalIPs, ip)
	}
}

// sourceRanges restrict who may use the load balancer.
func sourceRanges(ranges ...string) serviceOption {
	return func(spec *corev1.ServiceSpec, _ *corev1.ServiceStatus) { spec.LoadBalancerSourceRanges = ranges }
}

// externally and internally set the traffic policies: "Cluster" or "Local".
func externally(policy corev1.ServiceExternalTrafficPolicy) serviceOption {
	return func(spec *corev1.ServiceSpec, _ *corev1.ServiceStatus) { spec.ExternalTrafficPolicy = policy }
}

func internally(policy corev1.ServiceInternalTrafficPolicy) serviceOption {
	return func(spec *corev1.ServiceSpec, _ *corev1.ServiceStatus) { spec.InternalTrafficPolicy = &policy }
}

// healthCheck is the port on which load balancers ask whether this node has endpoints.
func healthCheck(port int32) serviceOption {
	return func(spec *corev1.ServiceSpec, _ *corev1.ServiceStatus) { spec.HealthCheckNodePort = port }
}

// affinity keeps a client at its endpoint for some seconds.
func affinity(seconds int32) serviceOption {
	return func(spec *corev1.ServiceSpec, _ *corev1.ServiceStatus) {
		spec.SessionAffinity = corev1.ServiceAffinityClientIP
		spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
}

// port adds a port of some protocol; nodePort may be zero.
func port(name string, proto corev1.Protocol, number, nodePort int32) serviceOption {
	return func(spec *corev1.ServiceSpec, _ *corev1.ServiceStatus) {
		spec.Ports = append(spec.Ports, corev1.ServicePort{Name: name, Protocol: proto, Port: number, NodePort: nodePort})
	}
}

// tcpPort adds a TCP port.
func tcpPort(name string, number, nodePort int32) serviceOption {
	return port(name, corev1.ProtocolTCP, number, nodePort)
}

// targets are the ports of an EndpointSlice.
type targets []discoveryv1.EndpointPort

func (p targets) and(name string, proto corev1.Protocol, number int32) targets {
	return append(p, discoveryv1.EndpointPort{Name: &name, Protocol: &proto, Port: &number})
}

func target(name string, number int32) targets {
	return targets{}.and(name, corev1.ProtocolTCP, number)
}

// slice returns an EndpointSlice. An endpoint reads "10.0.1.3 draining local": an address, then its state, which
// is ready (also when not said), draining (serving while it terminates) or gone (terminating, not serving), then
// where it runs: "local" or the name of a node.
func slice(service string, ports targets, endpoints ...string) *discoveryv1.EndpointSlice {
	namespace, name, _ := strings.Cut(service, "/")
	s := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name + "-abcde", Labels: map[string]string{discoveryv1.LabelServiceName: name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       ports,
	}
	for _, text := range endpoints {
		s.Endpoints = append(s.Endpoints, endpoint(strings.Fields(text)))
	}
	return s
}

func endpoint(words []string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: words[:1]}
	conditions := func(ready, serving, terminating bool) {
		e.Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
	}
	conditions(true, true, false)
	for _, word := range words[1:] {
		switch word {
		case "ready":
		case "draining":
			conditions(false, true, true)
		case "gone":
			conditions(false, false, true)
		case "local":
			node := nodeName
			e.NodeName = &node
		default:
			e.NodeName = &word
		}
	}
	return e
}
