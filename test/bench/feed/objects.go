package feed

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// born is when everything was created.
func born() metav1.Time { return metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) }

// serviceObject returns the object that a user would have created and the API server completed.
func serviceObject(s *model.Service) *corev1.Service {
	single, internal := corev1.IPFamilyPolicySingleStack, corev1.ServiceInternalTrafficPolicyCluster
	o := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Name.Namespace, Name: s.Name.Name, UID: uid("service", s.Name.String()), CreationTimestamp: born(),
			Labels: map[string]string{"app.kubernetes.io/name": s.Name.Name, "app.kubernetes.io/part-of": s.Name.Namespace},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: s.ClusterIP.String(), ClusterIPs: []string{s.ClusterIP.String()},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: &single,
			InternalTrafficPolicy: &internal, SessionAffinity: corev1.ServiceAffinityNone,
			Selector: map[string]string{"app.kubernetes.io/name": s.Name.Name},
		},
	}
	for _, p := range s.Ports {
		o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{
			Name: p.Name, Protocol: protocol(p.Proto), Port: int32(p.Port), TargetPort: intstr.FromString(p.Name),
		})
	}
	return o
}

// sliceObject returns the object that the control plane would have written.
func sliceObject(s *model.Slice) *discoveryv1.EndpointSlice {
	yes := true
	o := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Name.Namespace, Name: s.Name.Name, UID: uid("slice", s.Name.Name), CreationTimestamp: born(),
			GenerateName: s.Service.Name + "-",
			Labels: map[string]string{
				discoveryv1.LabelServiceName: s.Service.Name,
				discoveryv1.LabelManagedBy:   "endpointslice-controller.k8s.io",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Service", Name: s.Service.Name, UID: uid("service", s.Service.String()),
				Controller: &yes, BlockOwnerDeletion: &yes,
			}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   make([]discoveryv1.Endpoint, 0, len(s.Addresses)),
	}
	for _, p := range s.Ports {
		name, proto, port := p.Name, protocol(p.Proto), int32(p.Port)
		o.Ports = append(o.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &proto, Port: &port})
	}
	for _, a := range s.Addresses {
		o.Endpoints = append(o.Endpoints, endpoint(s.Name.Namespace, a))
	}
	return o
}

func endpoint(namespace string, a model.SliceAddress) discoveryv1.Endpoint {
	ready, serving, terminating := a.Ready, a.Serving, a.Terminating
	node := NodeName
	if !a.Local {
		b := a.Addr.As4()
		node = fmt.Sprintf("node-%d", 1+int(b[1])<<8+int(b[2]))
	}
	pod := fmt.Sprintf("pod-%x", a.Addr.As4())
	return discoveryv1.Endpoint{
		Addresses:  []string{a.Addr.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		NodeName:   &node,
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: pod, UID: uid("pod", pod)},
	}
}

// nodeObject returns the Node that the proxy runs on.
func nodeObject(n model.Node) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: uid("node", n.Name), CreationTimestamp: born(), Labels: map[string]string{
			corev1.LabelHostname: n.Name, corev1.LabelTopologyZone: n.Zone,
		}},
		Spec:   corev1.NodeSpec{PodCIDR: n.PodCIDR.String(), PodCIDRs: []string{n.PodCIDR.String()}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: n.IP.String()}}},
	}
}

func protocol(p ipproto.Proto) corev1.Protocol {
	switch p {
	case ipproto.UDP:
		return corev1.ProtocolUDP
	case ipproto.SCTP:
		return corev1.ProtocolSCTP
	}
	return corev1.ProtocolTCP
}

// uid looks like a UUID and is the same for the same name.
func uid(kind, name string) types.UID {
	h := uint64(14695981039346656037)
	for _, s := range []string{kind, "/", name} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	return types.UID(fmt.Sprintf("%08x-%04x-4000-8000-%012x", h>>32, h>>16&0xffff, h&0xffffffffffff))
}

// Target is a Service that can be reached: where clients connect to, and where they end.
type Target struct {
	Name      model.ServiceName
	Frontend  netip.AddrPort
	Endpoints int
}
