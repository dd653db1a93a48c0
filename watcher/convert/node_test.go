package convert

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

var compareAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestNode(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	node := func(change func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelTopologyZone: "zone-a"}}}
		change(n)
		return n
	}
	addresses := func(pairs ...string) *corev1.Node {
		return node(func(n *corev1.Node) {
			for i := 0; i < len(pairs); i += 2 {
				n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeAddressType(pairs[i]), Address: pairs[i+1]})
			}
		})
	}
	podCIDRs := func(one string, all ...string) *corev1.Node {
		return node(func(n *corev1.Node) { n.Spec.PodCIDR, n.Spec.PodCIDRs = one, all })
	}
	for _, test := range []struct {
		name string
		in   *corev1.Node
		want NodeFacts
	}{
		{"nothing", nil, NodeFacts{}},
		{"a node without addresses", node(func(*corev1.Node) {}), NodeFacts{Name: "n", Zone: "zone-a"}},
		{"no zone", node(func(n *corev1.Node) { n.Labels = nil }), NodeFacts{Name: "n"}},
		{
			"internal addresses come first",
			addresses("Hostname", "n.example", "ExternalIP", "203.0.113.9", "InternalIP", "fd00::9", "InternalIP", "10.0.0.9", "InternalIP", "10.0.0.10"),
			NodeFacts{Name: "n", Zone: "zone-a", Primary: ipproto.IPv6, IPv4: addr("10.0.0.9"), IPv6: addr("fd00::9")},
		},
		{
			"an external address fills the other family",
			addresses("ExternalIP", "2001:db8::9", "InternalIP", "10.0.0.9"),
			NodeFacts{Name: "n", Zone: "zone-a", Primary: ipproto.IPv4, IPv4: addr("10.0.0.9"), IPv6: addr("2001:db8::9")},
		},
		{
			"what cannot be read is skipped",
			addresses("InternalIP", "", "InternalIP", "x", "InternalIP", "10.0.0.09"),
			NodeFacts{Name: "n", Zone: "zone-a", Primary: ipproto.IPv4, IPv4: addr("10.0.0.9")},
		},
		{
			"the first pod CIDR of each family",
			podCIDRs("10.1.0.0/24", "10.1.0.0/24", "x", "fd00:1::/64", "10.2.0.0/24"),
			NodeFacts{Name: "n", Zone: "zone-a", PodCIDRv4: prefix("10.1.0.0/24"), PodCIDRv6: prefix("fd00:1::/64")},
		},
		{
			"load balancers leave a node that the autoscaler removes",
			node(func(n *corev1.Node) {
				n.Spec.Taints = []corev1.Taint{{Key: "x"}, {Key: "ToBeDeletedByClusterAutoscaler", Effect: corev1.TaintEffectPreferNoSchedule}}
			}),
			NodeFacts{Name: "n", Zone: "zone-a", Leaving: true},
		},
		{
			"and one that is being deleted",
			node(func(n *corev1.Node) { n.DeletionTimestamp = &metav1.Time{} }),
			NodeFacts{Name: "n", Zone: "zone-a", Leaving: true},
		},
		{
			"but not one that is cordoned or not ready",
			node(func(n *corev1.Node) {
				n.Spec.Unschedulable = true
				n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeUnschedulable}, {Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}}
			}),
			NodeFacts{Name: "n", Zone: "zone-a"},
		},
		{"an old node has one", podCIDRs("fd00:1::5/64"), NodeFacts{Name: "n", Zone: "zone-a", PodCIDRv6: prefix("fd00:1::/64")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Node(test.in), compareAddrs); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNodeFor(t *testing.T) {
	facts := NodeFacts{
		Name: "n", Zone: "z",
		IPv4: netip.MustParseAddr("10.0.0.9"), IPv6: netip.MustParseAddr("fd00::9"),
		PodCIDRv4: netip.MustParsePrefix("10.1.0.0/24"), PodCIDRv6: netip.MustParsePrefix("fd00:1::/64"),
	}
	for f, want := range map[ipproto.Family]model.Node{
		ipproto.IPv4: {Name: "n", Zone: "z", IP: facts.IPv4, PodCIDR: facts.PodCIDRv4},
		ipproto.IPv6: {Name: "n", Zone: "z", IP: facts.IPv6, PodCIDR: facts.PodCIDRv6},
	} {
		if diff := cmp.Diff(want, facts.For(f), compareAddrs); diff != "" {
			t.Errorf("%v (-want +got):\n%s", f, diff)
		}
	}
}
