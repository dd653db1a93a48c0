package property

import (
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/watcher"
	"espalier/watcher/convert"
	"espalier/watcher/synthetic"
)

var benchConfig = plan.Config{
	MasqueradeMark: 0x4000, DropInvalid: true, LocalhostNodePorts: true,
	NodePortAddresses: []netip.Prefix{ipproto.IPv4.All()},
	Detector:          plan.Detector{PodCIDR: netip.MustParsePrefix("10.128.0.0/9")},
}

// web is a Service as the API has it, and its endpoints.
func web(last byte) (*corev1.Service, *discoveryv1.EndpointSlice) {
	name, protocol, port := "http", corev1.ProtocolTCP, int32(8080)
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "web"}
	service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		ClusterIP: "10.95.0.1", Ports: []corev1.ServicePort{{Name: name, Protocol: protocol, Port: 80}},
	}}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},

		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
	}
	for i := range byte(3) {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{netip.AddrFrom4([4]byte{10, 200, i, last}).String()}})
	}
	return service, slice
}

// BenchmarkConvert converts one Service and its slice.
func BenchmarkConvert(b *testing.B) {
	service, slice := web(1)
	b.ReportAllocs()
	for b.Loop() {
		convert.Service(service)
		convert.Slice(slice, convert.Options{NodeName: "node-1"})
	}
}

// BenchmarkPlan plans a whole cluster.
func BenchmarkPlan(b *testing.B) {
	for _, size := range []synthetic.Size{{Services: 1000, Endpoints: 3}, {Services: 10000, Endpoints: 3}, {Services: 5000, Endpoints: 50}, {Services: 100000, Endpoints: 1}} {
		b.Run(fmt.Sprintf("services=%d/endpoints=%d", size.Services, size.Endpoints), func(b *testing.B) {
			tracker := watcher.New()
			tracker.Replace(synthetic.Cluster(1, size))
			tracker.SetSynced()
			s, _, _ := tracker.View(ipproto.IPv4).Snapshot()
			rules := 0
			b.ReportAllocs()
			for b.Loop() {
				planned, _ := plan.Plan(s, benchConfig)
				rules = 0
				for _, list := range planned {
					rules += len(list)
				}
			}
			b.ReportMetric(float64(rules)*float64(b.N)/b.Elapsed().Seconds(), "rules/s")
		})
	}
}

// BenchmarkStanding looks for the frontends of UDP in the rules of a cluster, as each start does.
func BenchmarkStanding(b *testing.B) {
	for _, size := range []synthetic.Size{{Services: 10000, Endpoints: 3}, {Services: 100000, Endpoints: 1}} {
		b.Run(fmt.Sprintf("services=%d/endpoints=%d", size.Services, size.Endpoints), func(b *testing.B) {
			tracker := watcher.New()
			tracker.Replace(synthetic.Cluster(1, size))
			tracker.SetSynced()
			s, _, _ := tracker.View(ipproto.IPv4).Snapshot()
			rules, _ := plan.Plan(s, benchConfig)
			found := 0
			b.ReportAllocs()
			for b.Loop() {
				found = len(plan.Standing(rules, ipproto.UDP))
			}
			b.ReportMetric(float64(found), "frontends")
		})
	}
}

// BenchmarkChange is all that our process does for one changed EndpointSlice, from the object to the restore input:
// convert, track, plan, diff, render. What it costs must not depend on the size of the cluster.
func BenchmarkChange(b *testing.B) {
	for _, services := range []int{1000, 10000, 100000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			tracker := watcher.New()
			tracker.Replace(synthetic.Cluster(1, synthetic.Size{Services: services, Endpoints: 1}))
			service, slice := web(0)
			converted, _ := convert.Service(service)
			tracker.SetService(converted[0].Name, converted...)
			track := func(s *discoveryv1.EndpointSlice) {
				if one, _ := convert.Slice(s, convert.Options{NodeName: "node-1"}); one != nil {
					tracker.SetSlice(one)
				}
			}
			track(slice)
			tracker.SetSynced()
			view := tracker.View(ipproto.IPv4)
			step, _, _ := view.Step()
			planner := plan.NewPlanner(ipproto.IPv4)
			planner.Reset(model.Snapshot{Family: step.Family, Node: step.Node, Services: step.Services}, benchConfig)

			var payload counter
			changes := 0
			b.ReportAllocs()
			for b.Loop() {
				changes++
				_, changed := web(byte(changes%250 + 1))
				track(changed)
				step, _, _ := view.Step()
				change := planner.Update(step.Services)[0] // the endpoint changes, and nothing is refused before or after
				batch := delta.Batch{Write: change.Write, New: change.New, Delete: change.Delete, Standing: planner.Rules(ruleset.Nat)}
				if _, err := batch.Encode(&payload, ipproto.IPv4, delta.NFT); err != nil || batch.Empty() {
					b.Fatalf("change %d: %v, nothing to write: %v", changes, err, batch.Empty())
				}
			}
			b.ReportMetric(float64(payload)/float64(changes), "restore-bytes/op")
			b.ReportMetric(b.Elapsed().Seconds()/float64(changes)*float64(time.Second/time.Microsecond), "us/change")
		})
	}
}

// counter counts what is written to it.
type counter int

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

var _ io.Writer = (*counter)(nil)
