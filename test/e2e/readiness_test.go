package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/e2e/cluster"
)

const probedPods = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: probed, namespace: readiness}
spec:
  replicas: 2
  selector: {matchLabels: {app: probed}}
  template:
    metadata: {labels: {app: probed}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: probed
        image: e2e.example/netexec:1.0
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: probed, namespace: readiness}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: probed}
  ports: [{name: http, port: 80, targetPort: http}, {name: udp, port: 81, targetPort: 8081, protocol: UDP}]
`

// A pod that says that it is not ready leaves the EndpointSlices and the rules of all nodes, and comes back when it is. It
// serves all the time, so no connection fails.
func TestReadinessTakesAnEndpointOutAndIn(t *testing.T) {
	c := theClusterFor(t)
	const namespace = "readiness"
	if err := c.Apply(t.Context(), probedPods); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeNamespace(t, c, namespace) })
	if err := c.AwaitRollout(patient(t), namespace, "probed"); err != nil {
		t.Fatal(err)
	}
	service, err := c.Client.CoreV1().Services(namespace).Get(patient(t), "probed", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := c.Client.CoreV1().Pods(namespace).List(patient(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	moody := pods.Items[0]
	known := func(want bool) func(context.Context) error {
		return func(context.Context) error { return areEndpoints(c, want, moody) }
	}
	if err := cluster.Until(patient(t), "all nodes know "+moody.Name, known(true)); err != nil {
		t.Fatal(err)
	}
	g := gatherOn(t, c, service, c.Nodes, c.Nodes...)
	for _, ready := range []bool{false, true} {
		begun := time.Now()
		tellReadiness(t, c, moody, ready)
		if err := cluster.Until(patient(t), fmt.Sprintf("rules lead to %s: %t", moody.Name, ready), known(ready)); err != nil {
			t.Fatal(err)
		}
		say("%s was told to be ready (%t): all nodes followed after %.1f s; it is probed each second", moody.Name, ready, time.Since(begun).Seconds())
		g.flow("afterwards")
	}
	g.disperse()
}

// tellReadiness tells a pod from its node what to say to its probe.
func tellReadiness(t *testing.T, c *cluster.Cluster, p corev1.Pod, ready bool) {
	t.Helper()
	url := fmt.Sprintf("http://%s:8080/ready?state=%t", p.Status.PodIP, ready)
	resp, err := c.Nodes[0].HTTP(patience).Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", url, resp.Status, text)
	}
}

// areEndpoints returns nil if the rules of all nodes lead to all addresses of pods, or those of none to any.
func areEndpoints(c *cluster.Cluster, want bool, pods ...corev1.Pod) error {
	for _, n := range c.Nodes {
		have, err := destinations(n, c.Config.Backend)
		if err != nil {
			return err
		}
		for _, p := range pods {
			for _, ip := range podAddrs(p) {
				if have[ip] != want {
					return fmt.Errorf("%s: a rule leads to %s: %t", n.Name, ip, have[ip])
				}
			}
		}
	}
	return nil
}
