package e2e

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"espalier/test/e2e/client"
	"espalier/test/netns/lab"
)

// onePort asks by UDP from one port without pause, so that every datagram belongs to the same flow.
func (g *ground) onePort(from *lab.Namespace, d door) *flow {
	g.t.Helper()
	s, err := client.Start(from, from.Name+" → "+d.String(), "--proto=udp", "--keep", "--ask=hostname", "--every=50ms", "--timeout=200ms", d.AddrPort.String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(s.Kill)
	return &flow{g.t, s}
}

type flow struct {
	t *testing.T
	*client.Stream
}

// hears waits until a pod answers.
func (f *flow) hears(pod string) {
	f.t.Helper()
	if _, err := f.Await(patient(f.t), f.Count(), "an answer of "+pod, func(r client.Result) bool { return r.Text == pod }); err != nil {
		f.t.Fatal(err)
	}
}

// A client that sends datagrams from one port gets to the next pod when the one that it talks to goes: at a cluster IP, with
// the internal policy Local, from the network of the node, at a node port, and at the address of a load balancer. The
// next pod is on another node, or on the same.
func TestDatagramsFollowThePods(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*corev1.Service)
		from   func(*ground) *lab.Namespace
		doors  func(*service) []door
		second int // the node of the second pod
	}{
		{"cluster-ip", func(*corev1.Service) {}, podOf(0), (*service).clusterIP, 1},
		{"internal-local", internalLocal, podOf(0), (*service).clusterIP, 0},
		{"from-the-node", func(*corev1.Service) {}, nodeOf(1), (*service).clusterIP, 1},
		{"node-port", ofType(corev1.ServiceTypeNodePort), podOf(1), func(s *service) []door { return s.nodePorts(2) }, 1},
		{"balancer-other-node", ofType(corev1.ServiceTypeLoadBalancer), (*ground).outside, func(s *service) []door { return s.at(s.balance(2)...) }, 1},
		{"balancer-same-node", ofType(corev1.ServiceTypeLoadBalancer), (*ground).outside, func(s *service) []door { return s.at(s.balance(2)...) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t, "udp-"+test.name)
			s := g.service("web", "web", test.change)
			var flows []*flow
			for _, d := range udp(test.doors(s)) { // before there is anybody who could answer
				flows = append(flows, g.onePort(test.from(g), d))
			}
			all := func(pod string) {
				t.Helper()
				for _, f := range flows {
					f.hears(pod)
				}
			}
			g.serve("web", 0)
			all("web-1")
			g.start("web", "web-2", test.second)
			g.awaitReady("web-2")
			g.stop("web-1")
			all("web-2")
		})
	}
}

func podOf(node int) func(*ground) *lab.Namespace {
	return func(g *ground) *lab.Namespace { return g.pod(node) }
}

func nodeOf(node int) func(*ground) *lab.Namespace {
	return func(g *ground) *lab.Namespace { return g.node(node) }
}

// Datagrams that were sent while no pod was ready get to the first that is, from the same port.
func TestDatagramsArriveWhenAPodGetsReady(t *testing.T) {
	t.Parallel()
	g := newGround(t, "udp-unready")
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort))
	g.start("web", "web-1", 0, asked, func(p *corev1.Pod) { p.Spec.Containers[0].ReadinessProbe.InitialDelaySeconds = 3 })
	g.awaitRunning("web-1")
	var flows []*flow
	for _, d := range udp(append(s.clusterIP(), s.nodePorts(1)...)) {
		flows = append(flows, g.onePort(g.pod(1), d))
	}
	for _, f := range flows {
		f.hears("web-1")
	}
}

// When the target of a node port is another port, datagrams from the same port get there.
func TestDatagramsFollowTheTargetPort(t *testing.T) {
	t.Parallel()
	g := newGround(t, "udp-target")
	for i, port := range []int{8081, 9081} {
		g.start("web", fmt.Sprintf("web-%d", i+1), 0, func(p *corev1.Pod) {
			p.Spec.Containers[0].Args = []string{fmt.Sprintf("--http-port=%d", port-1), fmt.Sprintf("--udp-port=%d", port)}
			p.Spec.Containers[0].Ports = nil
		})
	}
	target := func(port int32) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(port), NodePort: 0}}
		}
	}
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort), target(8081))
	g.label("web-2", "app", "other") // one pod for each port
	number := s.Spec.Ports[0].NodePort
	var flows []*flow
	for _, d := range s.nodePorts(1) {
		flows = append(flows, g.onePort(g.pod(1), d))
	}
	for _, f := range flows {
		f.hears("web-1")
	}
	s.change(func(s *corev1.Service) {
		target(9081)(s)
		s.Spec.Ports[0].NodePort, s.Spec.Selector = number, map[string]string{"app": "other"}
	})
	for _, f := range flows {
		f.hears("web-2")
	}
}
