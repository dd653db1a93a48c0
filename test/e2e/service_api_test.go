package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// bare is a change of a Service: nobody but a test, or a person, says what its endpoints are.
func bare(s *corev1.Service) { s.Spec.Selector = nil }

// slice writes an EndpointSlice of a Service: an address and a number for each port.
func (g *ground) slice(name, service string, ip netip.Addr, ports map[string]int32) {
	g.t.Helper()
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "e2e"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{ip.String()}}},
	}
	if ip.Is6() {
		s.AddressType = discoveryv1.AddressTypeIPv6
	}
	for name, number := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: new(corev1.ProtocolTCP)})
	}
	if _, err := g.c.Client.DiscoveryV1().EndpointSlices(g.name).Create(patient(g.t), s, metav1.CreateOptions{}); err != nil {
		g.t.Fatal(err)
	}
}

// A Service has as many slices as somebody writes: with several ports in several slices, and with several addresses.
func TestEndpointSlicesWrittenByHand(t *testing.T) {
	t.Parallel()
	g := newGround(t, "slices")
	g.serve("web", 0, 1)
	ports := func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "one", Port: 80}, {Name: "two", Port: 81}}
	}
	s := g.service("ports", "", bare, ports)
	t.Run("a port for each slice", func(*testing.T) {
		for _, ip := range s.Spec.ClusterIPs {
			like := netip.MustParseAddr(ip)
			g.slice(fmt.Sprintf("ports-one-%t", like.Is6()), "ports", g.address("web-1", like), map[string]int32{"one": 8080})
			g.slice(fmt.Sprintf("ports-two-%t", like.Is6()), "ports", g.address("web-2", like), map[string]int32{"two": 8080})
		}
		g.reaches(g.pod(2), s.only("one"), "web-1")
		g.reaches(g.pod(2), s.only("two"), "web-2")
	})
	t.Run("an address for each slice", func(*testing.T) {
		s := g.service("addresses", "", bare, ports)
		for _, ip := range s.Spec.ClusterIPs {
			like := netip.MustParseAddr(ip)
			for _, pod := range []string{"web-1", "web-2"} {
				g.slice(fmt.Sprintf("addresses-%s-%t", pod, like.Is6()), "addresses", g.address(pod, like), map[string]int32{"one": 8080, "two": 8080})
			}
		}
		g.reaches(g.pod(2), s.clusterIP(), "web-1", "web-2")
	})
}

// A slice that is called headless is not for the proxy.
func TestHeadlessSlice(t *testing.T) {
	t.Parallel()
	g := newGround(t, "headless")
	g.serve("web", 0)
	s := g.service("web", "", bare, func(s *corev1.Service) {
		s.Spec.IPFamilyPolicy = nil
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	})
	g.slice("web-1", "web", g.address("web-1", netip.MustParseAddr(s.Spec.ClusterIP)), map[string]int32{"http": 8080})
	g.reaches(g.pod(2), s.clusterIP(), "web-1")
	slices := g.c.Client.DiscoveryV1().EndpointSlices(g.name)
	patch := fmt.Sprintf(`{"metadata": {"labels": {%q: ""}}}`, corev1.IsHeadlessService)
	if _, err := slices.Patch(patient(t), "web-1", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	g.refuses(g.pod(2), s.clusterIP())
}

// Endpoints, the API that slices have replaced, are still followed: the control plane mirrors them.
func TestEndpointsWrittenByHand(t *testing.T) {
	t.Parallel()
	g := newGround(t, "endpoints")
	g.serve("web", 0, 1)
	s := g.service("web", "", bare, func(s *corev1.Service) {
		s.Spec.IPFamilyPolicy = nil
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}
	})
	like := netip.MustParseAddr(s.Spec.ClusterIP)
	write := func(pod string) {
		t.Helper()
		text := fmt.Sprintf(`
apiVersion: v1
kind: Endpoints
metadata: {name: web, namespace: %s}
subsets: [{addresses: [{ip: %s}], ports: [{name: http, port: 8080}]}]
`, g.name, g.address(pod, like))
		if err := g.c.Apply(patient(t), text); err != nil {
			t.Fatal(err)
		}
	}
	write("web-1")
	g.reaches(g.pod(2), s.clusterIP(), "web-1")
	write("web-2")
	g.reaches(g.pod(2), s.clusterIP(), "web-2")
	if err := g.c.Delete(patient(t), fmt.Sprintf("{apiVersion: v1, kind: Endpoints, metadata: {name: web, namespace: %s}}", g.name)); err != nil {
		t.Fatal(err)
	}
	g.refuses(g.pod(2), s.clusterIP())
}

// What others write into the status of a Service, and into its annotations, changes nothing; Services that are deleted
// together are gone together.
func TestServicesLiveAndDie(t *testing.T) {
	t.Parallel()
	g := newGround(t, "lifecycle")
	pods := g.serve("web", 0, 1)
	var all []*service
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, g.service(name, "web", ofType(corev1.ServiceTypeLoadBalancer), func(s *corev1.Service) {
			s.Labels = map[string]string{"test": map[bool]string{true: "kept", false: "deleted"}[name == "c"]}
		}))
	}
	all[0].ingress(netip.MustParseAddr("198.18.99.1"))
	all[0].change(func(s *corev1.Service) { s.Annotations = map[string]string{"patched": "yes"} })
	for _, s := range all {
		g.reaches(g.pod(2), s.clusterIP(), pods...)
	}
	err := g.c.Client.CoreV1().RESTClient().Delete().Namespace(g.name).Resource("services").Param("labelSelector", "test=deleted").Do(patient(t)).Error()
	if err != nil {
		t.Fatal(err)
	}
	g.misses(g.pod(2), append(all[0].clusterIP(), all[1].clusterIP()...))
	g.reaches(g.pod(2), all[2].clusterIP(), pods...)
}

// Services get addresses of a range that was added to the cluster, and answer there.
func TestServiceCIDR(t *testing.T) {
	t.Parallel()
	g := newGround(t, "service-cidr")
	pods := g.serve("web", 0, 1)
	more := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "e2e-more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.97.0.0/24"}}}
	ranges := g.c.Client.NetworkingV1().ServiceCIDRs()
	if _, err := ranges.Create(patient(t), more, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // it goes when the Service has gone
		if err := ranges.Delete(patient(t), more.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	var s *service
	g.becomes("the range is in use", func(ctx context.Context) error {
		made, err := g.c.Client.CoreV1().Services(g.name).Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: corev1.ServiceSpec{
				ClusterIP: "10.97.0.77", Selector: map[string]string{"app": "web"}, Type: corev1.ServiceTypeNodePort,
				Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
			},
		}, metav1.CreateOptions{})
		s = &service{made, g}
		return err
	})
	t.Cleanup(s.remove)
	g.reaches(g.pod(2), s.clusterIP(), pods...)
	g.reaches(g.node(2), s.clusterIP(), pods...)
	g.reaches(g.outside(), s.nodePorts(0), pods...)
}
