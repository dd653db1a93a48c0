package kube

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher"
	"espalier/watcher/kube/kubetest"
)

// patience is how long a test waits for something that must happen. Nothing waits for it to pass.
const patience = 20 * time.Second

// hurry is a tempo for tests, but for the Node.
func hurry() tempo {
	pace := wait.Backoff{Duration: time.Millisecond, Cap: 20 * time.Millisecond, Steps: 5, Factor: 2}
	return tempo{pace: pace, address: addressGrace, ranges: rangeGrace}
}

// impatient does not wait for a Node that lacks something.
func impatient() tempo { return tempo{pace: hurry().pace, address: 1, ranges: 1} }

// rig is a server, a Tracker and Run in between.
type rig struct {
	t       testing.TB
	server  *kubetest.Server
	config  Config
	v4, v6  *watcher.View
	ctx     context.Context // ends with the test's patience
	stop    func()          // ends Run and waits for it
	changed chan struct{}   // gets a token for each report and each line of the log

	mu      sync.Mutex
	reports []string
	log     []string
}

// newRig prepares everything but starts nothing except the server.
func newRig(t testing.TB) *rig {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r := &rig{t: t, server: kubetest.Start(), changed: make(chan struct{}, 1), stop: func() {}}
	t.Cleanup(r.server.Close)
	t.Cleanup(func() { r.stop() })
	tracker := watcher.New()
	r.v4, r.v6 = tracker.View(ipproto.IPv4), tracker.View(ipproto.IPv6)
	r.config = Config{NodeName: "here", Tracker: tracker, Report: r.report, REST: &rest.Config{Host: r.server.URL, QPS: -1}}
	r.config.REST.ContentType = contentType
	r.ctx = klog.NewContext(ctx, funcr.New(func(_, args string) {
		r.note(func() { r.log = append(r.log, args) })
	}, funcr.Options{}))
	return r
}

// start starts Run, and returns what gets its result.
func (r *rig) start(t tempo) <-chan error {
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- run(ctx, r.config, t)
	}()
	r.stop = func() {
		cancel()
		<-ctx.Done()
	}
	return ended
}

// run starts Run, which must not end before stop is called.
func (r *rig) run(t tempo) {
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, r.config, t) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				r.t.Errorf("Run: %v, want nil when the context ends", err)
			}
		case <-time.After(patience):
			r.t.Error("Run does not end")
		}
	})
}

func (r *rig) note(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *rig) report(object string, problems []model.Problem) {
	r.note(func() {
		line := object + ": fine"
		if len(problems) > 0 {
			line = fmt.Sprint(problems)
			for _, p := range problems {
				if p.Object != object {
					line = fmt.Sprintf("%s reported as %s", p, object)
				}
			}
		}
		r.reports = append(r.reports, line)
	})
}

// until waits until ok returns true, looking again after each report and line of the log.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for {
		r.mu.Lock()
		done := ok()
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-r.changed:
		case <-r.ctx.Done():
			r.t.Fatalf("no %s; reports:\n%s\nlog:\n%s", what, strings.Join(r.reports, "\n"), strings.Join(r.log, "\n"))
		}
	}
}

// logged counts the lines of the log with a text in them.
func (r *rig) logged(text string) (n int) {
	for _, line := range r.log {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// wantCluster waits until both views together show the given lines.
func (r *rig) wantCluster(want ...string) {
	r.t.Helper()
	for {
		got := slices.Concat(lines(r.v4), lines(r.v6))
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-r.v4.Changed():
		case <-r.v6.Changed():
		case <-r.ctx.Done():
			r.t.Fatalf("the Tracker never gets there (-want +got):\n%s\nlog:\n%s", cmp.Diff(want, got), strings.Join(r.log, "\n"))
		}
	}
}

// see waits until the snapshot of IPv4 is as ok wants it.
func (r *rig) see(what string, ok func(model.Snapshot) bool) {
	r.t.Helper()
	for {
		if s, _, complete := r.v4.Snapshot(); complete && ok(s) {
			return
		}
		select {
		case <-r.v4.Changed():
		case <-r.ctx.Done():
			r.t.Fatalf("never seen: %s; log:\n%s", what, strings.Join(r.log, "\n"))
		}
	}
}

// wantRequests waits for n requests that match.
func (r *rig) wantRequests(n int, match func(kubetest.Request) bool) {
	r.t.Helper()
	if err := r.server.Await(r.ctx, n, match); err != nil {
		r.t.Fatalf("%v; requests: %v", err, r.server.Requests())
	}
}

// lines shows what a view sees, one line for the Node and for each port: "shop/web 10.96.0.1:80 to 10.0.0.1:8080 local".
func lines(v *watcher.View) []string {
	s, _, ok := v.Snapshot()
	if !ok {
		return []string{"not synced"}
	}
	var all []string
	if n := s.Node; n.Name != "" {
		all = append(all, fmt.Sprintf("Node %s in %q at %v", n.Name, n.Zone, n.IP))
	}
	for _, name := range slices.SortedFunc(maps.Keys(s.Services), model.ServiceName.Compare) {
		entry := s.Services[name]
		for _, p := range entry.Service.Ports {
			line := fmt.Sprintf("%v %v", entry.Service.PortName(p), netip.AddrPortFrom(entry.Service.ClusterIP, p.Port))
			for _, e := range entry.Backends[p.PortKey] {
				line += fmt.Sprintf(" to %v", e.Addr)
				if e.Local {
					line += " local"
				}
			}
			all = append(all, line)
		}
	}
	return all
}

// service returns a Service with one TCP port 80 and the given cluster IPs.
func service(name string, clusterIPs ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	s.Spec.ClusterIP, s.Spec.ClusterIPs = clusterIPs[0], clusterIPs
	for _, ip := range clusterIPs {
		family := corev1.IPv4Protocol
		if strings.Contains(ip, ":") {
			family = corev1.IPv6Protocol
		}
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, family)
	}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	return s
}

// slice returns a slice of a Service, whose endpoints serve port 8080. "10.0.0.1@here" runs on Node here.
func slice(service, name string, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	s.AddressType = discoveryv1.AddressTypeIPv4
	s.Ports = []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}}
	for _, text := range endpoints {
		addr, node, _ := strings.Cut(text, "@")
		if strings.Contains(addr, ":") {
			s.AddressType = discoveryv1.AddressTypeIPv6
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr}, NodeName: &node})
	}
	return s
}

// nodeObject returns a Node in a zone.
func nodeObject(name, zone string, addrs ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}}}
	for _, a := range addrs {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

// labelled returns the object with a label more.
func labelled[T metav1.Object](o T, key string) T {
	labels := maps.Clone(o.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	labels[key] = "x"
	o.SetLabels(labels)
	return o
}
