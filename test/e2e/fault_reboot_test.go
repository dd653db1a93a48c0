package e2e

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"espalier/test/e2e/cluster"
)

// A node reboots while the API server is away: no rule is left, its proxy starts, and waits. When the API server comes, the
// Services work there, as on a node that is new. Nobody on the other nodes notices any of it, as no pod behind the Service
// was on that node.
func TestANodeRebootsWhileTheAPIServerIsAway(t *testing.T) {
	c := theClusterFor(t)
	node, others := c.Nodes[2], c.Nodes[:2]
	cordon(t, c, node, true)
	t.Cleanup(func() { cordon(t, c, node, false) })
	service := deployEchoes(t, c, "reboot")
	g := gatherOn(t, c, service, others, others...)

	c.Plane.KillAPIServer()
	t.Cleanup(func() { startAPIServer(t, c) })
	if err := node.PowerOff(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.PowerOn(patient(t)); err != nil {
			t.Error(err)
		}
	})
	if rules := natOf(t, c, node); strings.Contains(rules, "KUBE-SERVICES") {
		t.Fatalf("there are rules after the reboot:\n%s", rules)
	}
	if err := node.Proxy.Start(patient(t)); err != nil {
		t.Fatal(err)
	}
	if err := node.Proxy.AwaitProbe(patient(t), "/livez"); err != nil {
		t.Error(err)
	}
	if err := node.Proxy.Log.Await(patient(t), 0, "connection refused"); err != nil {
		t.Error(err)
	}
	startAPIServer(t, c)
	if err := node.PowerOn(patient(t)); err != nil {
		t.Fatal(err)
	}
	everywhere := gather(t, c, service, c.Nodes...)
	everywhere.disperse()
	g.flow("after the reboot")
	g.disperse()
}

// cordon keeps new pods off a node, or does not any more.
func cordon(t *testing.T, c *cluster.Cluster, n *cluster.Node, off bool) {
	t.Helper()
	patch := `{"spec": {"unschedulable": true}}`
	if !off {
		patch = `{"spec": {"unschedulable": null}}`
	}
	if _, err := c.Client.CoreV1().Nodes().Patch(patient(t), n.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
