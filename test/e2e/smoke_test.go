package e2e

import (
	"context"
	"net"
	"net/http"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"espalier/test/e2e/cluster"
	"espalier/test/e2e/controlplane"
	"espalier/test/netns/lab"
)

// Pods on all nodes, the nodes, and a host outside reach a Service whose pods are on all nodes, by both families.
func TestAServiceIsReachedFromEverywhere(t *testing.T) {
	c := theClusterFor(t)
	g := gather(t, c, deployEchoes(t, c, "smoke"), c.Nodes...)
	g.disperse()
}

// A pod reaches the API server by the Service default/kubernetes, and is known there by its token.
func TestAPodReachesTheAPIServer(t *testing.T) {
	c := theClusterFor(t)
	token := tokenOf(t, c, "default", "default")
	for _, n := range c.Nodes {
		pod := addPod(t, n.Node, "api-client")
		api, err := kubernetes.NewForConfig(&rest.Config{
			Host: "https://" + net.JoinHostPort(controlplane.ServiceIP.String(), "443"), BearerToken: token,
			TLSClientConfig: rest.TLSClientConfig{CAData: c.Plane.CA()}, Dial: dialer(pod.Namespace), Timeout: patience,
		})
		if err != nil {
			t.Fatal(err)
		}
		who, err := api.AuthenticationV1().SelfSubjectReviews().Create(patient(t), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("from a pod of %s: %v", n.Name, err)
		}
		if got, want := who.Status.UserInfo.Username, "system:serviceaccount:default:default"; got != want {
			t.Errorf("from a pod of %s, it is %s, want %s", n.Name, got, want)
		}
	}
}

func tokenOf(t *testing.T, c *cluster.Cluster, namespace, name string) string {
	t.Helper()
	answer, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(patient(t), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token
}

func dialer(ns *lab.Namespace) func(context.Context, string, string) (net.Conn, error) {
	return cluster.HTTP(ns, patience).Transport.(*http.Transport).DialContext
}
