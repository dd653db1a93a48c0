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

// many is how many Services are made in one go.
const many = 5000

// 5,000 Services are made in one go. While their rules are written, the proxy of one node is killed again and again, each
// time in the middle of a COMMIT. In the end all of them answer on all nodes, and whoever used another Service meanwhile has
// not noticed.
func TestFiveThousandServicesAreMadeInOneGo(t *testing.T) {
	c := theClusterFor(t)
	service := deployEchoes(t, c, "many")
	g := gather(t, c, service, c.Nodes[0])
	begun := time.Now()
	addrs := makeServices(t, c, service.Namespace, many)
	say("all were made, in %.1f s", time.Since(begun).Seconds())

	victim := c.Nodes[2]
	kills := killInCommits(t, victim, 5)
	say("the proxy of %s was killed %d times in the middle of a COMMIT", victim.Name, kills)

	for _, n := range c.Nodes {
		allAnswer(t, addPod(t, n.Node, "many-asker").Namespace, addrs)
		say("all of them answer on %s, %.1f s after the first was made", n.Name, time.Since(begun).Seconds())
	}
	for _, n := range c.Nodes {
		expectNoDifference(t, n)
	}
	g.flow("with all Services")
	say("deleting them")
	deleteServices(t, c, service.Namespace)
	for _, n := range c.Nodes {
		awaitRulesGone(t, c, n, addrs)
	}
	g.flow("after they were deleted")
	g.disperse()
}

// makeServices makes Services in front of the pods of echo, several at a time, and returns their addresses.
func makeServices(t *testing.T, c *cluster.Cluster, namespace string, number int) []netip.AddrPort {
	t.Helper()
	addrs := make([]netip.AddrPort, number)
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience) // one core may be all that there is
	defer cancel()
	made := atomic.Int32{}
	makers, ctx := errgroup.WithContext(ctx)
	makers.SetLimit(16)
	for i := range number {
		makers.Go(func() error {
			s, err := c.Client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("many-%d", i), Labels: map[string]string{"many": ""}},
				Spec: corev1.ServiceSpec{
					Selector: map[string]string{"app": "echo"},
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
			return nil
		})
	}
	if err := makers.Wait(); err != nil {
		t.Fatal(err)
	}
	return addrs
}

func deleteServices(t *testing.T, c *cluster.Cluster, namespace string) {
	t.Helper()
	err := c.Client.CoreV1().RESTClient().Delete().Namespace(namespace).Resource("services").Param("labelSelector", "many").Do(patient(t)).Error()
	if err != nil {
		t.Fatal(err)
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
	err := cluster.Until(ctx, "the rules of deleted Services are gone from "+n.Name, func(context.Context) error {
		rules := natOf(t, c, n)
		for _, a := range addrs {
			if strings.Contains(rules, "-d "+a.Addr().String()+"/32 ") {
				return fmt.Errorf("there are rules for %s", a.Addr())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
