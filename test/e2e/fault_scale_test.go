package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"espalier/test/e2e/cluster"
	"espalier/test/netns/lab"
)

// many is how many Services are made in one go, by makersAtATime.
const (
	many          = 5000
	makersAtATime = 16
)

// few is what they lead to. What is tried here is the number of Services.
const few = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: few, namespace: %s}
spec:
  replicas: 2
  selector: {matchLabels: {app: few}}
  template:
    metadata: {labels: {app: few}}
    spec:
      containers:
      - name: few
        image: e2e.example/netexec:1.0
        ports: [{name: http, containerPort: 8080}]
`

// 5,000 Services are made in one go. While they are, the proxy of one node is killed again and again, each time in the
// middle of a COMMIT. In the end all of them answer on all nodes, and whoever used another Service meanwhile has not noticed.
// Some are deleted then; the others end with the cluster, as it takes the API server as long to delete Services as to make
// them. So this is a test to run at last.
func TestFiveThousandServicesAreMadeInOneGo(t *testing.T) {
	c := theClusterFor(t)
	service := deploy(t, c, "many", 0)
	if err := c.Apply(t.Context(), fmt.Sprintf(few, service.Namespace)); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitRollout(patient(t), service.Namespace, "few"); err != nil {
		t.Fatal(err)
	}
	g := gather(t, c, service, c.Nodes[0])
	// Here all nodes share the processors, and a proxy writes whatever there is as soon as it can. The API server, which makes
	// the Services, shall not have to wait for that.
	for _, n := range c.Nodes {
		n.Proxy.Nice = 5
		if err := n.Proxy.Restart(patient(t)); err != nil {
			t.Fatal(err)
		}
	}

	begun := time.Now()
	made := makeServices(t, c, service.Namespace, many)
	victim := c.Nodes[2]
	killInCommits(t, victim, 5)
	say("the proxy of %s was killed 5 times in the middle of a COMMIT", victim.Name)
	addrs := made()
	say("all were made, in %.1f s", time.Since(begun).Seconds())

	for _, n := range c.Nodes {
		allAnswer(t, addPod(t, n.Node, "many-asker").Namespace, addrs)
		say("all of them answer on %s, %.1f s after the first was made", n.Name, time.Since(begun).Seconds())
	}
	for _, n := range c.Nodes {
		expectNoDifference(t, n)
	}
	g.flow("with all Services")
	deleted := addrs[:100]
	say("deleting %d of them", len(deleted))
	deleteServices(t, c, service.Namespace, len(deleted))
	for _, n := range c.Nodes {
		awaitRulesGone(t, c, n, deleted)
	}
	say("their rules are gone, %.1f s after the first Service was made", time.Since(begun).Seconds())
	g.flow("after these were deleted")
	g.disperse()
}

// makeServices begins to make Services in front of the few, several at a time. What it returns waits until all are made, and
// returns their addresses.
func makeServices(t *testing.T, c *cluster.Cluster, namespace string, number int) (wait func() []netip.AddrPort) {
	t.Helper()
	addrs := make([]netip.AddrPort, number)
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	made := atomic.Int32{}
	makers, ctx := errgroup.WithContext(ctx)
	for maker := range makersAtATime {
		makers.Go(func() error {
			for i := maker; i < number; i += makersAtATime {
				s, err := c.Client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("many-%d", i)},
					Spec: corev1.ServiceSpec{
						Selector: map[string]string{"app": "few"},
						Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
					},
				}, metav1.CreateOptions{})
				if err != nil {
					return err
				}
				addrs[i] = netip.AddrPortFrom(netip.MustParseAddr(s.Spec.ClusterIP), 80)
				if n := made.Add(1); n%1000 == 0 {
					say("%d Services were made", n)
				}
			}
			return nil
		})
	}
	t.Cleanup(func() {
		cancel()
		_ = makers.Wait()
	})
	return func() []netip.AddrPort {
		t.Helper()
		if err := makers.Wait(); err != nil {
			t.Fatal(err)
		}
		return addrs
	}
}

// deleteServices deletes some of those that were made first.
func deleteServices(t *testing.T, c *cluster.Cluster, namespace string, number int) {
	t.Helper()
	for i := range number {
		if err := c.Client.CoreV1().Services(namespace).Delete(patient(t), fmt.Sprintf("many-%d", i), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// allAnswer waits until connections to all addresses succeed.
func allAnswer(t *testing.T, from *lab.Namespace, addrs []netip.AddrPort) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	for _, to := range addrs {
		err := cluster.Until(ctx, to.String()+" answers in "+from.Name, func(ctx context.Context) error {
			return from.Go(func() error {
				conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", to.String())
				if err == nil {
					err = conn.Close()
				}
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// awaitRulesGone waits until no rule of a node has one of the addresses.
func awaitRulesGone(t *testing.T, c *cluster.Cluster, n *cluster.Node, addrs []netip.AddrPort) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	deleted := map[string]bool{}
	for _, a := range addrs {
		deleted[a.Addr().String()+"/32"] = true
	}
	err := cluster.Until(ctx, "the rules of deleted Services are gone from "+n.Name, func(context.Context) error {
		left := 0
		for field := range strings.FieldsSeq(natOf(t, c, n)) {
			if deleted[field] {
				left++
			}
		}
		if left > 0 {
			return fmt.Errorf("there are %d", left)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
