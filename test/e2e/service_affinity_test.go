package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"espalier/test/netns/lab"
)

// affine is a change of a Service: a client stays with a pod for some seconds.
func affine(seconds int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
}

func unattached(s *corev1.Service) {
	s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
}

// stays waits until a client gets all its answers from one pod, at each door.
func (g *ground) stays(from *lab.Namespace, doors []door) {
	g.t.Helper()
	g.each(doors, answering, func(d door) string { return from.Name + " stays with one pod at " + d.String() }, func(ctx context.Context, d door) error {
		names, err := whoAnswers(ctx, from, d, 3)
		if err == nil && len(names) != 1 {
			err = fmt.Errorf("%v answer", names)
		}
		return err
	})
}

// A client stays with its pod, at cluster IPs, node ports and the addresses of a load balancer, with either policy; when
// affinity is switched off, it does not, and when it is switched on again, it does.
func TestSessionAffinity(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		kind   corev1.ServiceType
		policy corev1.ServiceExternalTrafficPolicy
	}{
		{"ClusterIP", corev1.ServiceTypeClusterIP, ""},
		{"NodePort", corev1.ServiceTypeNodePort, ""},
		{"LoadBalancer-Cluster", corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyCluster},
		{"LoadBalancer-Local", corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "affinity-"+strings.ToLower(test.name))
			pods := g.serve("web", 0, 0, 0)
			s := g.service("web", "web", ofType(test.kind), affine(3600), func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = test.policy })
			doors, from := s.clusterIP(), g.pod(1)
			switch test.kind {
			case corev1.ServiceTypeNodePort:
				doors, from = s.nodePorts(0), g.outside()
			case corev1.ServiceTypeLoadBalancer:
				doors, from = s.at(s.balance(0)...), g.outside()
			}
			g.stays(from, doors)
			s.change(unattached)
			g.reaches(from, doors, pods...)
			s.change(affine(3600))
			g.stays(from, doors)
		})
	}
}

// After the time of affinity without a request, a client may get another pod.
func TestSessionAffinityEnds(t *testing.T) {
	t.Parallel()
	for _, kind := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "affinity-ends-"+strings.ToLower(string(kind)))
			g.serve("web", everywhere...)
			s := g.service("web", "web", ofType(kind), affine(1))
			doors, from := s.clusterIP(), g.pod(1)
			if kind == corev1.ServiceTypeNodePort {
				doors, from = s.nodePorts(0), g.outside()
			}
			d := doors[0]
			first := ""
			g.becomes("another pod answers", func(ctx context.Context) error {
				name, err := d.ask(ctx, from, answerTimeout, "hostname", "")
				switch {
				case err != nil:
					return err
				case first == "":
					first = name
				case first != name:
					return nil
				}
				time.Sleep(1500 * time.Millisecond) // without a request: each one begins the time anew
				return fmt.Errorf("%s answers again", name)
			})
		})
	}
}
