package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/e2e/client"
)

// The addresses of a load balancer are reached from outside, from pods and from nodes.
func TestLoadBalancer(t *testing.T) {
	t.Parallel()
	g := newGround(t, "balancer")
	pods := g.serve("web", 0, 1)
	s := g.service("web", "web", ofType(corev1.ServiceTypeLoadBalancer))
	doors := s.at(s.balance(2)...)
	g.reaches(g.outside(), doors, pods...)
	for _, node := range everywhere {
		g.reaches(g.pod(node), doors, pods...)
		g.reaches(g.node(node), doors, pods...)
	}
	local := g.service("local", "web", ofType(corev1.ServiceTypeLoadBalancer), externalLocal)
	doors = local.at(local.balance(0)...)
	g.reaches(g.outside(), doors, "web-1")
	g.seenAs(g.outside(), doors, g.c.Outside().Addrs...)
	g.reaches(g.pod(2), doors, pods...) // a client of the cluster is not bound by the policy
}

// Only clients of the source ranges reach a load balancer; who they are is changed while it runs.
func TestSourceRanges(t *testing.T) {
	t.Parallel()
	g := newGround(t, "source-ranges")
	pods := g.serve("web", 0)
	accepted, dropped := g.client(1), g.client(2)
	ranges := func(addrs ...netip.Addr) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.LoadBalancerSourceRanges = nil
			for _, a := range addrs {
				s.Spec.LoadBalancerSourceRanges = append(s.Spec.LoadBalancerSourceRanges, netip.PrefixFrom(a, a.BitLen()).String())
			}
		}
	}
	s := g.service("web", "web", ofType(corev1.ServiceTypeLoadBalancer), ranges(accepted.Addrs...))
	doors := s.at(s.balance(0)...)
	g.reaches(accepted.Namespace, doors, pods...)
	g.ignores(dropped.Namespace, doors)
	g.ignores(g.outside(), doors)
	g.reaches(dropped.Namespace, s.clusterIP(), pods...)

	s.change(ranges(dropped.Addrs...))
	g.reaches(dropped.Namespace, doors, pods...)
	g.ignores(accepted.Namespace, doors)

	s.change(ranges(g.c.Outside().Addrs...))
	g.reaches(g.outside(), doors, pods...)
	g.ignores(dropped.Namespace, doors)

	s.change(ranges())
	g.reaches(accepted.Namespace, doors, pods...)
	g.reaches(g.outside(), doors, pods...)
}

// shift is a pod on each node, the next of which is ready before it goes.
const shift = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: web}}
  updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: web}, annotations: {version: %[2]q}}
    spec:
      containers:
      - name: web
        image: e2e.example/netexec:1.0
        args: [--delay-shutdown=5]
        ports:
        - {name: http, containerPort: 8080}
        - {name: udp, containerPort: 8081, protocol: UDP}
`

// deploy applies a version of shift, and waits until it is everywhere.
func (g *ground) deploy(version string) {
	g.t.Helper()
	if err := g.c.Apply(patient(g.t), fmt.Sprintf(shift, g.name, version)); err != nil {
		g.t.Fatal(err)
	}
	g.becomes("version "+version+" is everywhere", func(ctx context.Context) error {
		d, err := g.c.Client.AppsV1().DaemonSets(g.name).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s, n := d.Status, int32(len(g.c.Nodes)); s.ObservedGeneration < d.Generation || s.UpdatedNumberScheduled != n || s.NumberAvailable != n {
			return fmt.Errorf("%d of %d pods are up to date, %d are available", s.UpdatedNumberScheduled, n, s.NumberAvailable)
		}
		return nil
	})
}

// While all pods are replaced, nobody who comes by a load balancer notices, with either policy.
func TestRollingUpdateBehindALoadBalancer(t *testing.T) {
	t.Parallel()
	for _, policy := range []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "rolling-"+strings.ToLower(string(policy)))
			g.deploy("1")
			s := g.service("web", "web", ofType(corev1.ServiceTypeLoadBalancer), func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = policy })
			var streams []*client.Stream
			for _, d := range tcp(s.at(s.balance(0)...)) {
				g.becomes(d.String()+" answers", func(ctx context.Context) error {
					_, err := d.ask(ctx, g.outside(), answerTimeout, "hostname", "")
					return err
				})
				stream, err := client.Start(g.outside(), "outside → "+d.String(), "--every=40ms", d.AddrPort.String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(stream.Kill)
				streams = append(streams, stream)
			}
			g.deploy("2")
			for _, stream := range streams {
				if err := stream.Flow(patient(t), 20); err != nil { // of which the last pods of version 1 have none
					t.Error(err)
				}
				results, err := stream.Stop()
				if failed := client.Failed(results); err != nil || len(failed) > 0 {
					t.Errorf("%s: %d of %d requests failed, error %v: %v", stream.Name, len(failed), len(results), err, failed)
				}
			}
		})
	}
}
