package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/e2e/client"
	"espalier/test/e2e/cluster"
)

// deployAnother makes one more Service in front of the pods of a namespace's echo, and returns its address.
func deployAnother(t *testing.T, c *cluster.Cluster, namespace, name string) netip.AddrPort {
	t.Helper()
	err := c.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s}
spec:
  selector: {app: echo}
  ports: [{port: 80, targetPort: http}]
`, name, namespace))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Client.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(s.Spec.ClusterIP), 80)
}

// mustAnswer waits until an address of a Service answers on every node.
func mustAnswer(t *testing.T, c *cluster.Cluster, to netip.AddrPort) {
	t.Helper()
	for _, n := range c.Nodes {
		mustAnswerOn(t, n, to)
	}
}

func mustAnswerOn(t *testing.T, n *cluster.Node, to netip.AddrPort) {
	t.Helper()
	becomes(t, n, to, "an answer", func(r client.Result) bool { return r.Err == "" })
}

// mustNotAnswer waits until an address does not answer on any node.
func mustNotAnswer(t *testing.T, c *cluster.Cluster, to netip.AddrPort) {
	t.Helper()
	for _, n := range c.Nodes {
		becomes(t, n, to, "no answer", func(r client.Result) bool { return r.Err != "" })
	}
}

// becomes asks from a node until the result is as wanted.
func becomes(t *testing.T, n *cluster.Node, to netip.AddrPort, what string, wanted func(client.Result) bool) {
	t.Helper()
	s, err := client.Start(n.Namespace, n.Name+" → "+to.String(), "--every=50ms", "--timeout=1s", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	if _, err := s.Await(patient(t), 0, what, wanted); err != nil {
		t.Fatal(err)
	}
}
