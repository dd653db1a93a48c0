package e2e

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/e2e/cluster"
)

// The API server is killed and comes back after a minute. Meanwhile the proxy of one node is restarted, and that of another
// killed: they start, touch no rule, and are alive. When it is back, all follow.
func TestAnAPIServerThatIsAwayForAMinuteIsNotMissed(t *testing.T) {
	c := theClusterFor(t)
	service := deployEchoes(t, c, "api-away")
	g := gather(t, c, service, c.Nodes...)
	before := exits(c)
	say("the API server is killed")
	c.Plane.KillAPIServer()
	t.Cleanup(func() { startAPIServer(t, c) }) // if the test ends before
	minute := time.After(time.Minute)

	restarted, killed := c.Nodes[1], c.Nodes[2]
	restarted.Proxy.Stop()
	if err := restarted.Proxy.Start(patient(t)); err != nil {
		t.Fatal(err)
	}
	killed.Proxy.Kill()
	for _, n := range c.Nodes {
		if err := n.Proxy.AwaitProbe(patient(t), "/livez"); err != nil {
			t.Error(err)
		}
	}
	g.flow("without an API server")
	<-minute
	g.flow("after a minute without an API server")

	startAPIServer(t, c)
	say("the API server is back")
	mustAnswer(t, c, deployAnother(t, c, service.Namespace, "later"))
	g.flow("with the API server again")
	g.disperse()
	for i, n := range c.Nodes {
		want := before[i]
		if n == restarted || n == killed {
			want++
		}
		if got := len(n.Proxy.Exits()); got != want {
			t.Errorf("the proxy of %s has ended %d times, want %d: %v", n.Name, got, want, n.Proxy.Exits())
		}
	}
}

// The proxies are cut off from the API server. While they are, a Service is made and one deleted, the API server is
// restarted, so that it has no history of its own, and etcd forgets its own. So their watches cannot go on from where they
// were (410 Gone), and they must read everything anew.
func TestAfterACompactionEverythingIsReadAnew(t *testing.T) {
	c := theClusterFor(t)
	service := deployEchoes(t, c, "compacted")
	gone := deployAnother(t, c, service.Namespace, "gone")
	mustAnswer(t, c, gone)
	g := gather(t, c, service)
	before := exits(c)

	last, err := c.Client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	reconnect := cutOff(t, c)
	if err := c.Client.CoreV1().Services(service.Namespace).Delete(t.Context(), "gone", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	made := deployAnother(t, c, service.Namespace, "made")
	c.Plane.KillAPIServer()
	t.Cleanup(func() { startAPIServer(t, c) })
	if _, err := c.Plane.Compact(patient(t)); err != nil {
		t.Fatal(err)
	}
	startAPIServer(t, c)
	expectGone(t, c, last.ResourceVersion)
	reconnect()

	mustAnswer(t, c, made)
	mustNotAnswer(t, c, gone)
	g.disperse()
	if after := exits(c); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the proxies have ended %v times, want %v", after, before)
	}
}

// exits returns how often the proxy of each node has ended.
func exits(c *cluster.Cluster) (counts []int) {
	for _, n := range c.Nodes {
		counts = append(counts, len(n.Proxy.Exits()))
	}
	return counts
}

func startAPIServer(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	if c.Plane.Serves() {
		return
	}
	if err := c.Plane.StartAPIServer(patient(t)); err != nil {
		t.Fatal(err)
	}
}

// cutOff takes the way to the API server from all nodes: connections are reset.
func cutOff(t *testing.T, c *cluster.Cluster) (reconnect func()) {
	t.Helper()
	rules := func(verb string) {
		for _, tool := range []string{"iptables-nft", "ip6tables-nft"} {
			if _, err := c.Wire.Control().Command(nil, tool, "-w", "10", verb, "INPUT", "!", "-i", "lo", "-p", "tcp", "--dport", "6443",
				"-j", "REJECT", "--reject-with", "tcp-reset"); err != nil {
				t.Error(err)
			}
		}
	}
	rules("-I")
	cut := true
	reconnect = func() {
		if cut {
			rules("-D")
		}
		cut = false
	}
	t.Cleanup(reconnect)
	return reconnect
}

// expectGone wants a watch from a resource version to be refused with 410.
func expectGone(t *testing.T, c *cluster.Cluster, version string) {
	t.Helper()
	events, err := c.Client.CoreV1().Services("").Watch(patient(t), metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			t.Fatalf("a watch from before the compaction: %v, want 410 Gone", err)
		}
		return
	}
	defer events.Stop()
	e, ok := <-events.ResultChan()
	status, is := e.Object.(*metav1.Status)
	if !ok || !is || status.Code != 410 {
		t.Fatalf("a watch from before the compaction says %v, want 410 Gone", e)
	}
}
