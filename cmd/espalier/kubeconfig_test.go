package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/watcher/kube/kubetest"
)

func kubeconfig(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: %q}}]
users: [{name: test, user: {}}]
`, url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDumpOfAClusterHasItsServices(t *testing.T) {
	server := kubetest.Start()
	defer server.Close()
	name, protocol, port, node := "http", corev1.ProtocolTCP, int32(8080), "n1"
	server.Apply(
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0/24"}}},
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.96.4.1", Ports: []corev1.ServicePort{{Name: name, Protocol: protocol, Port: 80}}},
		},
		&discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.9"}, NodeName: &node}},
		},
	)
	stdout, stderr, err := execute(t, "", "dump", "--kubeconfig", kubeconfig(t, server.URL), "--hostname-override", node,
		"--detect-local-mode", "NodeCIDR", "--iptables-backend", "legacy")
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	for _, rule := range []string{
		"-A KUBE-SERVICES ! -s 10.244.1.0/24 -d 10.96.4.1 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ\n",
		`-A KUBE-SERVICES -m comment --comment "shop/web:http cluster IP" -d 10.96.4.1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.9:8080` + "\n",
	} {
		if !strings.Contains(stdout, rule) {
			t.Errorf("the dump lacks %q:\n%s", rule, stdout)
		}
	}
}

func TestDumpOfAClusterThatForbidsSaysWhatIsMissing(t *testing.T) {
	server := kubetest.Start()
	defer server.Close()
	server.Behave(kubetest.Behaviour{Refuse: kubetest.Forbid("list", "endpointslices")})
	stdout, _, err := execute(t, "", "dump", "--kubeconfig", kubeconfig(t, server.URL), "--hostname-override", "n1")
	if err == nil || !strings.Contains(err.Error(), "endpointslices") || stdout != "" {
		t.Errorf("error %v and output %q, want an error about endpointslices and nothing printed", err, stdout)
	}
}
