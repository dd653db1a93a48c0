package e2e

import (
	"strings"
	"testing"

	"espalier/test/e2e/cluster"
	"espalier/test/e2e/controlplane"
)

// kube-proxy 1.37, as kubeadm deploys it, takes a node over from us, we take it over again, it takes it back, and then our
// program does in kubeadm's DaemonSet, of which only the image was changed. Nobody who makes connections notices.
func TestTakeoverFromKubeProxyAndBack(t *testing.T) {
	c := theClusterFor(t)
	program, err := controlplane.Binary("kube-proxy")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := cluster.KubeProxy("testdata/kube-proxy", program)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Install(patient(t), theirs); err != nil {
		t.Fatal(err)
	}
	ours := c.Config.Proxy
	swapped := theirs.WithProgram(ours.Program)
	node := c.Nodes[0]
	t.Cleanup(func() {
		if err := node.Proxy.Replace(patient(t), ours); err != nil {
			t.Error(err)
		}
	})
	g := gather(t, c, deployEchoes(t, c, "takeover"), node)
	for _, step := range []struct {
		what string
		to   *cluster.Workload
	}{
		{"kube-proxy takes over from us", theirs},
		{"we take over from kube-proxy", ours},
		{"kube-proxy takes over again", theirs},
		{"our program takes over in kubeadm's DaemonSet", swapped},
	} {
		say("%s", step.what)
		if err := node.Proxy.Replace(patient(t), step.to); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		g.flow("after " + step.what)
		if rules := natOf(t, c, node); step.to != theirs && strings.Contains(rules, "KUBE-SEP-") {
			t.Errorf("%s: chains of kube-proxy are left:\n%s", step.what, rules)
		}
	}
	g.disperse()
}

// natOf returns the nat table of a node, both families.
func natOf(t *testing.T, c *cluster.Cluster, n *cluster.Node) string {
	t.Helper()
	var all string
	for _, tool := range []string{"iptables-", "ip6tables-"} {
		out, err := n.Command(nil, tool+c.Config.Backend+"-save", "-t", "nat")
		if err != nil {
			t.Fatal(err)
		}
		all += string(out)
	}
	return all
}
