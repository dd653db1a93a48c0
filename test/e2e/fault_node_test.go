package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"espalier/test/e2e/client"
	"espalier/test/e2e/cluster"
	"espalier/test/netns/lab"
)

// A Service prefers pods of the client's zone, which is one for each node. A node that is moved to another zone uses the
// pods there, too, at once: its proxy goes on.
func TestANodeThatMovesToAnotherZoneIsFollowed(t *testing.T) {
	c := theClusterFor(t)
	service := deployEchoes(t, c, "zones")
	if _, err := c.Client.CoreV1().Services(service.Namespace).Patch(t.Context(), "echo", types.MergePatchType,
		[]byte(`{"spec": {"trafficDistribution": "PreferSameZone"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	node, other := c.Nodes[0], c.Nodes[1]
	before := exits(c)
	vip := netip.AddrPortFrom(netip.MustParseAddr(service.Spec.ClusterIP), 80)
	on := podsByNode(t, c, service.Namespace)
	onlyFrom(t, node.Namespace, vip, on[node.Name])

	old := labelZone(t, c, node, "zone-2")
	t.Cleanup(func() { labelZone(t, c, node, old) })
	answersFrom(t, node.Namespace, vip, on[other.Name])
	labelZone(t, c, node, old)
	onlyFrom(t, node.Namespace, vip, on[node.Name])
	if after := exits(c); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("proxies have ended: %v times, before %v", after, before)
	}
}

// A Node gets another address. The process ends with status 1, is started again, as the kubelet would, and then knows it;
// nobody who makes connections notices. The same on the way back.
func TestANodeThatGetsAnotherAddressRestartsTheProxy(t *testing.T) {
	c := theClusterFor(t)
	service := deployEchoes(t, c, "moved")
	node := c.Nodes[1]
	others := []netip.Prefix{netip.MustParsePrefix("198.18.0.61/24"), netip.MustParsePrefix("fd00:198:18::61/64")}
	if err := node.AddAddrs(others); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.RemoveAddrs(others); err != nil {
			t.Error(err)
		}
	})
	g := gather(t, c, service, c.Nodes...)
	own := node.Addrs
	t.Cleanup(func() { setAddresses(t, c, node, own) })
	for _, addrs := range [][]netip.Addr{{others[0].Addr(), others[1].Addr()}, own} {
		before := len(node.Proxy.Exits())
		setAddresses(t, c, node, addrs)
		exit, err := node.Proxy.AwaitExit(patient(t), before)
		if err != nil {
			t.Fatal(err)
		}
		if exit.Code != 1 {
			t.Errorf("with another address, the proxy has ended with status %d, want 1", exit.Code)
		}
		if err := node.Proxy.AwaitProbe(patient(t), "/healthz"); err != nil {
			t.Error(err)
		}
		g.flow("after the change of the address")
	}
	mustAnswerOn(t, node, deployAnother(t, c, service.Namespace, "another"))
	g.disperse()
}

// A Node is deleted: the process ends with status 1, and the next one leaves the rules as they are. The Node comes back, and
// the proxy follows the cluster again.
func TestANodeThatIsDeletedKeepsItsRules(t *testing.T) {
	c := theClusterFor(t)
	service := deployEchoes(t, c, "deleted-node")
	node := c.Nodes[2]
	g := gather(t, c, service, c.Nodes...)
	object, err := c.Client.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := len(node.Proxy.Exits())
	if err := c.Client.CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { restoreNode(t, c, object) })
	exit, err := node.Proxy.AwaitExit(patient(t), before)
	if err != nil {
		t.Fatal(err)
	}
	if exit.Code != 1 {
		t.Errorf("without its Node, the proxy has ended with status %d, want 1", exit.Code)
	}
	if err := node.Proxy.AwaitProbe(patient(t), "/livez"); err != nil {
		t.Error(err)
	}
	g.flow("without the Node")
	restoreNode(t, c, object)
	mustAnswerOn(t, node, deployAnother(t, c, service.Namespace, "another"))
	g.disperse()
}

// restoreNode makes a Node again that was deleted, with the pod ranges that it had.
func restoreNode(t *testing.T, c *cluster.Cluster, was *corev1.Node) {
	t.Helper()
	nodes := c.Client.CoreV1().Nodes()
	if _, err := nodes.Get(patient(t), was.Name, metav1.GetOptions{}); err == nil {
		return
	}
	again := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: was.Name, Labels: was.Labels},
		Spec:       corev1.NodeSpec{PodCIDR: was.Spec.PodCIDR, PodCIDRs: was.Spec.PodCIDRs},
	}
	if _, err := nodes.Create(patient(t), again, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Controllers write to a new Node, too.
	err := cluster.Until(patient(t), "the status of "+was.Name+" is that of before", func(ctx context.Context) error {
		made, err := nodes.Get(ctx, was.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		made.Status = was.Status
		_, err = nodes.UpdateStatus(ctx, made, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// setAddresses changes what a Node says about its addresses.
func setAddresses(t *testing.T, c *cluster.Cluster, n *cluster.Node, addrs []netip.Addr) {
	t.Helper()
	err := cluster.Until(patient(t), "the addresses of "+n.Name+" are changed", func(ctx context.Context) error {
		node, err := c.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: n.Name}}
		for _, a := range addrs {
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
		}
		_, err = c.Client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err // a conflict, perhaps
	})
	if err != nil {
		t.Fatal(err)
	}
}

// labelZone puts a node into a zone, and returns the one that it was in.
func labelZone(t *testing.T, c *cluster.Cluster, n *cluster.Node, zone string) (old string) {
	t.Helper()
	node, err := c.Client.CoreV1().Nodes().Get(patient(t), n.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	patch := fmt.Sprintf(`{"metadata": {"labels": {%q: %q}}}`, corev1.LabelTopologyZone, zone)
	if _, err := c.Client.CoreV1().Nodes().Patch(patient(t), n.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	return node.Labels[corev1.LabelTopologyZone]
}

// podsByNode returns the names of the pods on each node.
func podsByNode(t *testing.T, c *cluster.Cluster, namespace string) map[string][]string {
	t.Helper()
	pods, err := c.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	on := map[string][]string{}
	for _, p := range pods.Items {
		on[p.Spec.NodeName] = append(on[p.Spec.NodeName], p.Name)
	}
	return on
}

// answersFrom waits until one of some pods answers.
func answersFrom(t *testing.T, from *lab.Namespace, to netip.AddrPort, pods []string) {
	t.Helper()
	s, err := client.Start(from, from.Name+" → "+to.String(), "--every=20ms", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	if _, err := s.Await(patient(t), 0, fmt.Sprintf("an answer of one of %q", pods), func(r client.Result) bool {
		return slices.Contains(pods, r.Text)
	}); err != nil {
		t.Fatal(err)
	}
}

// onlyFrom waits until nobody else than some pods answers: forty requests in a row.
func onlyFrom(t *testing.T, from *lab.Namespace, to netip.AddrPort, pods []string) {
	t.Helper()
	s, err := client.Start(from, from.Name+" → "+to.String(), "--every=20ms", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	row := 0
	if _, err := s.Await(patient(t), 0, fmt.Sprintf("answers of %q and nobody else", pods), func(r client.Result) bool {
		if row++; !slices.Contains(pods, r.Text) {
			row = 0
		}
		return row == 40
	}); err != nil {
		t.Fatal(err)
	}
}
