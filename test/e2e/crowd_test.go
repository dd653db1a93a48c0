package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/e2e/client"
	"espalier/test/e2e/cluster"
	"espalier/test/e2e/wire"
	"espalier/test/netns/lab"
)

// echoes is a Service of both families and two protocols, with two pods for each node, reachable from everywhere. The
// second verb is for how many seconds a pod serves on after it was deleted.
const echoes = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: %[1]s}
spec:
  replicas: 6
  selector: {matchLabels: {app: echo}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 6}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 30
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, nodeTaintsPolicy: Honor, labelSelector: {matchLabels: {app: echo}}}
      containers:
      - name: echo
        image: e2e.example/netexec:1.0
        lifecycle: {preStop: {sleep: {seconds: %[2]d}}}
        ports:
        - {name: http, containerPort: 8080}
        - {name: udp, containerPort: 8081, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: %[1]s}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: echo}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: udp, port: 81, targetPort: udp, protocol: UDP}
`

// pulse is the time from one request of a client to the next. There are dozens of clients, and two cores for all.
const pulse = 200 * time.Millisecond

// A crowd is clients of one Service, everywhere.
type crowd struct {
	t       *testing.T
	c       *cluster.Cluster
	service *corev1.Service
	streams []*client.Stream
	begun   time.Time
}

// deployEchoes makes a namespace for the test with the Service in it, which goes with the test.
func deployEchoes(t *testing.T, c *cluster.Cluster, namespace string) *corev1.Service {
	t.Helper()
	return deployLingering(t, c, namespace, 0)
}

// deployLingering does the same with pods that serve on for some seconds after they were deleted, until everybody knows
// that they were.
func deployLingering(t *testing.T, c *cluster.Cluster, namespace string, seconds int) *corev1.Service {
	t.Helper()
	t.Cleanup(func() { removeNamespace(t, c, namespace) })
	return deploy(t, c, namespace, seconds)
}

// deploy does the same, and leaves it there.
func deploy(t *testing.T, c *cluster.Cluster, namespace string, seconds int) *corev1.Service {
	t.Helper()
	if err := c.Apply(t.Context(), fmt.Sprintf(echoes, namespace, seconds)); err != nil {
		t.Fatal(err)
	}
	ctx := patient(t)
	if err := c.AwaitRollout(ctx, namespace, "echo"); err != nil {
		t.Fatal(err)
	}
	// Pods are ready before controllers and proxies know.
	err := cluster.Until(ctx, "rules of all nodes lead to all pods of echo", func(ctx context.Context) error {
		pods, err := c.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=echo"})
		if err != nil {
			return err
		}
		return areEndpoints(c, true, pods.Items...)
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Client.CoreV1().Services(namespace).Get(ctx, "echo", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func removeNamespace(t *testing.T, c *cluster.Cluster, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	if err := c.RemoveNamespace(ctx, name); err != nil {
		t.Error(err)
	}
}

// patience is how long a test waits for what must happen. Clients of an API server that was away may ask again as late as
// a minute after it is back: they wait up to 30 s, and up to as much at random.
const patience = 2 * time.Minute

// patient returns a context that ends after some time; it is also for what a test cleans up.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// gather starts clients of a Service on all nodes: those of gatherOn, and a pod on the first node that keeps a connection
// to each address, and a socket from which it sends datagrams.
func gather(t *testing.T, c *cluster.Cluster, service *corev1.Service, doors ...*cluster.Node) *crowd {
	t.Helper()
	g := gatherOn(t, c, service, c.Nodes, doors...)
	pod := addPod(t, c.Nodes[0].Node, service.Namespace+"-loyal")
	for _, ip := range g.clusterIPs() {
		g.start(pod.Namespace, "a pod of node1 on one connection", netip.AddrPortFrom(ip, 80), "--keep")
		g.start(pod.Namespace, "a pod of node1 by UDP from one socket", netip.AddrPortFrom(ip, 81), "--keep", "--proto=udp", "--ask=hostname")
	}
	g.flow("on connections that are kept")
	return g
}

// gatherOn starts clients of a Service that make a new connection for each request: a pod on each of some nodes, the nodes
// themselves, and a host outside that uses the node ports of the doors; each by both families. A pod of the first node also
// sends datagrams, each from a new socket.
func gatherOn(t *testing.T, c *cluster.Cluster, service *corev1.Service, nodes []*cluster.Node, doors ...*cluster.Node) *crowd {
	t.Helper()
	g := &crowd{t: t, c: c, service: service, begun: time.Now()}
	t.Cleanup(g.kill)
	for i, n := range nodes {
		pod := addPod(t, n.Node, service.Namespace+"-client")
		for _, ip := range g.clusterIPs() {
			g.start(pod.Namespace, "a pod of "+n.Name, netip.AddrPortFrom(ip, 80))
			g.start(n.Namespace, n.Name, netip.AddrPortFrom(ip, 80))
			if i == 0 {
				g.start(pod.Namespace, "a pod of "+n.Name+" by UDP", netip.AddrPortFrom(ip, 81), "--proto=udp", "--ask=hostname")
			}
		}
	}
	for _, n := range doors {
		for _, a := range n.Addrs {
			g.start(c.Outside().Namespace, "outside", netip.AddrPortFrom(a, uint16(service.Spec.Ports[0].NodePort)))
		}
	}
	g.flow("before anything happens")
	return g
}

// addPod makes a network namespace on a node that is connected as a pod is. It goes with the test.
func addPod(t *testing.T, n *wire.Node, name string) *wire.Pod {
	t.Helper()
	pod, err := n.AddPod(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pod.Close)
	return pod
}

func (g *crowd) clusterIPs() (ips []netip.Addr) {
	for _, ip := range g.service.Spec.ClusterIPs {
		ips = append(ips, netip.MustParseAddr(ip))
	}
	return ips
}

func (g *crowd) start(ns *lab.Namespace, who string, to netip.AddrPort, args ...string) {
	g.t.Helper()
	args = append([]string{"--every=" + pulse.String(), to.String()}, args...)
	s, err := client.Start(ns, who+" → "+to.String(), args...)
	if err != nil {
		g.t.Fatal(err)
	}
	g.streams = append(g.streams, s)
}

// flow waits until each client has had some more requests, answered or not.
func (g *crowd) flow(when string) {
	g.t.Helper()
	ctx := patient(g.t)
	var all errgroup.Group
	for _, s := range g.streams {
		all.Go(func() error { return s.Flow(ctx, 5) })
	}
	if err := all.Wait(); err != nil {
		g.t.Fatalf("%s: %v", when, err)
	}
}

// disperse ends all clients. No request may have failed.
func (g *crowd) disperse() {
	g.t.Helper()
	requests, resent := 0, 0
	for _, s := range g.streams {
		results, err := s.Stop()
		if err != nil {
			g.t.Error(err)
		}
		requests, resent = requests+len(results), resent+client.Resent(results)
		failed := client.Failed(results)
		for _, r := range failed[:min(3, len(failed))] {
			g.t.Errorf("%s: from %s at %s, after %s: %s", s.Name, r.From, r.At.Format("15:04:05.000"), r.Took.Round(time.Millisecond), r.Err)
		}
		if len(failed) > 3 {
			g.t.Errorf("%s: %d of %d requests failed", s.Name, len(failed), len(results))
		}
	}
	g.streams = nil
	say("%s requests in %.0f s, %d segments sent again", strconv.Itoa(requests), time.Since(g.begun).Seconds(), resent)
}

func (g *crowd) kill() {
	for _, s := range g.streams {
		s.Kill()
	}
}
