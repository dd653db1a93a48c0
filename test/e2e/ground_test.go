package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"espalier/test/e2e/cluster"
	"espalier/test/e2e/wire"
	"espalier/test/netns/lab"
)

// ground is a namespace of a test's own, with pods and Services in it, and clients around them. Tests with one run beside
// each other.
type ground struct {
	t    *testing.T
	c    *cluster.Cluster
	name string // of the namespace

	mu      sync.Mutex
	clients map[int]*wire.Pod
}

func newGround(t *testing.T, name string) *ground {
	t.Helper()
	g := &ground{t: t, c: theClusterFor(t), name: name, clients: map[int]*wire.Pod{}}
	letRefusalsThrough(t, g.c)
	namespaces := g.c.Client.CoreV1().Namespaces()
	if _, err := namespaces.Create(patient(t), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // it is gone soon, and nobody waits for that, nor for pods that take their time
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
		if err := g.c.Client.CoreV1().Pods(name).DeleteCollection(patient(t), now, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		if err := namespaces.Delete(patient(t), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return g
}

// letRefusalsThrough lets nodes answer as many packets with ICMP errors as come. Kernels send a few a second to each host, so
// that a client which is refused again and again would have to wait.
func letRefusalsThrough(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		for _, limit := range []string{"ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"} {
			if err := n.Sysctl(limit, "0"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// becomes waits until something is so.
func (g *ground) becomes(what string, ask func(context.Context) error) {
	g.t.Helper()
	if err := cluster.Until(patient(g.t), what, ask); err != nil {
		g.t.Fatal(err)
	}
}

// start starts a pod on a node. It has netexec, with HTTP at 8080 and UDP at 8081, which answers with the pod's name; and
// the label app.
func (g *ground) start(app, name string, node int, changes ...func(*corev1.Pod)) {
	g.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			NodeName: g.c.Nodes[node].Name,
			Containers: []corev1.Container{{Name: "netexec", Image: "e2e.example/netexec:1.0", Ports: []corev1.ContainerPort{
				{Name: "http", ContainerPort: 8080}, {Name: "udp", ContainerPort: 8081, Protocol: corev1.ProtocolUDP},
			}}},
		},
	}
	for _, change := range changes {
		change(p)
	}
	g.becomes("pod "+name+" can be made", func(ctx context.Context) error { // the namespace gets its service account later
		_, err := g.c.Client.CoreV1().Pods(g.name).Create(ctx, p, metav1.CreateOptions{})
		return err
	})
}

// serve starts pods, one on each of some nodes, waits until they are ready, and returns their names: web-1, web-2.
func (g *ground) serve(app string, nodes ...int) (names []string) {
	g.t.Helper()
	return g.serveAs(app, nil, nodes...)
}

func (g *ground) serveAs(app string, change func(*corev1.Pod), nodes ...int) (names []string) {
	g.t.Helper()
	for i, node := range nodes {
		names = append(names, fmt.Sprintf("%s-%d", app, i+1))
		g.start(app, names[i], node, func(p *corev1.Pod) {
			if change != nil {
				change(p)
			}
		})
	}
	for _, name := range names {
		g.awaitReady(name)
	}
	return names
}

func (g *ground) awaitReady(name string) *corev1.Pod {
	g.t.Helper()
	return g.awaitPod(name, "is ready", func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	})
}

func (g *ground) awaitPod(name, what string, wanted func(*corev1.Pod) bool) (pod *corev1.Pod) {
	g.t.Helper()
	g.becomes("pod "+name+" "+what, func(ctx context.Context) (err error) {
		pod, err = g.c.Client.CoreV1().Pods(g.name).Get(ctx, name, metav1.GetOptions{})
		if err == nil && !wanted(pod) {
			err = fmt.Errorf("its phase is %q, its conditions are %v", pod.Status.Phase, pod.Status.Conditions)
		}
		return err
	})
	return pod
}

// stop deletes pods, and does not wait for their end.
func (g *ground) stop(names ...string) {
	g.t.Helper()
	for _, name := range names {
		if err := g.c.Client.CoreV1().Pods(g.name).Delete(patient(g.t), name, metav1.DeleteOptions{}); err != nil {
			g.t.Fatal(err)
		}
	}
}

// label changes a label of a pod.
func (g *ground) label(name, key, value string) {
	g.t.Helper()
	g.becomes("pod "+name+" is labelled", func(ctx context.Context) error {
		p, err := g.c.Client.CoreV1().Pods(g.name).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		p.Labels[key] = value
		_, err = g.c.Client.CoreV1().Pods(g.name).Update(ctx, p, metav1.UpdateOptions{})
		return err
	})
}

// service is a Service as the API server has it.
type service struct {
	*corev1.Service
	g *ground
}

// service makes a Service for the pods with a label app: of both families if possible, HTTP at 80 and UDP at 81.
func (g *ground) service(name, app string, changes ...func(*corev1.Service)) *service {
	g.t.Helper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			IPFamilyPolicy: new(corev1.IPFamilyPolicyPreferDualStack),
			Selector:       map[string]string{"app": app},
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, TargetPort: intstr.FromString("http")},
				{Name: "udp", Port: 81, TargetPort: intstr.FromString("udp"), Protocol: corev1.ProtocolUDP},
			},
		},
	}
	for _, change := range changes {
		change(s)
	}
	made, err := g.c.Client.CoreV1().Services(g.name).Create(patient(g.t), s, metav1.CreateOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	return &service{made, g}
}

// change changes the Service, in the cluster and here.
func (s *service) change(change func(*corev1.Service)) {
	s.g.t.Helper()
	services := s.g.c.Client.CoreV1().Services(s.Namespace)
	s.g.becomes("Service "+s.Name+" is changed", func(ctx context.Context) error {
		now, err := services.Get(ctx, s.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(now)
		changed, err := services.Update(ctx, now, metav1.UpdateOptions{})
		if err == nil {
			s.Service = changed
		}
		return err
	})
}

// remove deletes the Service.
func (s *service) remove() {
	s.g.t.Helper()
	err := s.g.c.Client.CoreV1().Services(s.Namespace).Delete(patient(s.g.t), s.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		s.g.t.Fatal(err)
	}
}

// ofType is a change of a Service.
func ofType(kind corev1.ServiceType) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Type = kind }
}

// pod returns a client on a node that is connected as a pod is.
func (g *ground) pod(node int) *lab.Namespace { return g.client(node).Namespace }

func (g *ground) client(node int) *wire.Pod {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.clients[node] == nil {
		g.clients[node] = addPod(g.t, g.c.Nodes[node].Node, fmt.Sprintf("a pod on %s", g.c.Nodes[node].Name))
	}
	return g.clients[node]
}

// node returns the host network of a node.
func (g *ground) node(node int) *lab.Namespace { return g.c.Nodes[node].Namespace }

// outside returns the host that is not part of the cluster.
func (g *ground) outside() *lab.Namespace { return g.c.Outside().Namespace }

// inside returns the network of a pod that was started.
func (g *ground) inside(name string) *lab.Namespace {
	g.t.Helper()
	for _, n := range g.c.Nodes {
		if ns, err := n.Agent.Namespace(g.name, name); err == nil {
			return ns
		}
	}
	g.t.Fatalf("pod %s/%s is on no node", g.name, name)
	return nil
}

// addrs returns the addresses of all interfaces of a host.
func (g *ground) addrs(host *lab.Namespace) (all []netip.Addr) {
	g.t.Helper()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := host.Links().AddrList(nil, family)
		if err != nil {
			g.t.Fatal(err)
		}
		for _, a := range list {
			if ip, ok := netip.AddrFromSlice(a.IP); ok {
				all = append(all, ip.Unmap())
			}
		}
	}
	return all
}

// awaitSlice waits until a Service has an endpoint in some condition.
func (g *ground) awaitSlice(service, what string, wanted func(ready, serving, terminating bool) bool) {
	g.t.Helper()
	g.becomes("Service "+service+" has "+what, func(ctx context.Context) error {
		list, err := g.c.Client.DiscoveryV1().EndpointSlices(g.name).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
		if err != nil {
			return err
		}
		var all []discoveryv1.EndpointConditions
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				c := e.Conditions
				if wanted(*c.Ready, *c.Serving, *c.Terminating) {
					return nil
				}
				all = append(all, c)
			}
		}
		return fmt.Errorf("its endpoints: %v", all)
	})
}

// address returns an address of a pod, of the family of another address.
func (g *ground) address(name string, like netip.Addr) netip.Addr {
	g.t.Helper()
	p, err := g.c.Client.CoreV1().Pods(g.name).Get(patient(g.t), name, metav1.GetOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, ip := range p.Status.PodIPs {
		if a := netip.MustParseAddr(ip.IP); a.Is4() == like.Is4() {
			return a
		}
	}
	g.t.Fatalf("pod %s has no address like %s: %v", name, like, p.Status.PodIPs)
	return netip.Addr{}
}

// listening is a change of a pod: HTTP is at another port, which has a name, and UDP nowhere.
func listening(name string, port int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Args = append(c.Args, fmt.Sprintf("--http-port=%d", port), "--udp-port=-1")
		c.Ports = []corev1.ContainerPort{{Name: name, ContainerPort: port}}
	}
}

// hostNetwork is a change of a pod: it is in the network of its node, with HTTP at a port and UDP at the next.
func hostNetwork(port int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.HostNetwork = true
		c := &p.Spec.Containers[0]
		c.Env = []corev1.EnvVar{{Name: "IPS", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIPs"}}}}
		c.Args = append(c.Args, fmt.Sprintf("--http-port=%d", port), fmt.Sprintf("--udp-port=%d", port+1), "--udp-listen-addresses=$(IPS)")
		c.Ports = []corev1.ContainerPort{
			{Name: "http", ContainerPort: port, HostPort: port},
			{Name: "udp", ContainerPort: port + 1, HostPort: port + 1, Protocol: corev1.ProtocolUDP},
		}
	}
}
