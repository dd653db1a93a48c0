package feed

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher/convert"
	"espalier/watcher/synthetic"
)

func compareAddrs() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

// TestObjectsMeanTheCluster reads the objects as the proxy does: nothing is lost on the way, and nothing is wrong.
func TestObjectsMeanTheCluster(t *testing.T) {
	state := synthetic.Cluster(1, synthetic.Size{Services: 200, Endpoints: 120})
	for name, want := range state.Services {
		got, problems := convert.Service(serviceObject(want[0]))
		if diff := cmp.Diff(want, got, compareAddrs()); diff != "" || len(problems) > 0 {
			t.Errorf("Service %s (-want +got):\n%s%v", name, diff, problems)
		}
	}
	for name, want := range state.Slices {
		got, problems := convert.Slice(sliceObject(want), convert.Options{NodeName: NodeName})
		if diff := cmp.Diff(want, got, compareAddrs()); diff != "" || len(problems) > 0 {
			t.Errorf("EndpointSlice %s (-want +got):\n%s%v", name, diff, problems)
		}
	}
	node := state.Nodes[ipproto.IPv4]
	facts := convert.Node(nodeObject(node))
	if got := facts.For(ipproto.IPv4); got.IP != node.IP || got.PodCIDR != node.PodCIDR || got.Zone != node.Zone {
		t.Errorf("Node: got %+v, want %+v", got, node)
	}
}

func TestTargetsBeginWithKubernetes(t *testing.T) {
	c := New(synthetic.Size{Services: 20, Endpoints: 2})
	if got := c.Targets[0].Name; got != (model.ServiceName{Namespace: "default", Name: "kubernetes"}) {
		t.Errorf("the first is %s", got)
	}
	if len(c.Targets) != 19 {
		t.Errorf("%d targets, want all but the DNS", len(c.Targets))
	}
	for _, one := range c.Targets {
		if !netip.MustParsePrefix(ServiceCIDR).Contains(one.Frontend.Addr()) {
			t.Errorf("%s is at %s", one.Name, one.Frontend)
		}
	}
}

func TestChurnIsUndone(t *testing.T) {
	c := New(synthetic.Size{Services: 12, Endpoints: 2})
	before := endpoints(t, c)
	probe := c.Probe(0)
	probe.Put('A')
	probe.Switch('B')
	if got := endpoints(t, c)["bench/probe-0-ipv4-0"]; got != "10.255.254.66" {
		t.Errorf("the probe's endpoint is %q", got)
	}
	for n := range 10 {
		c.Churn(time.Unix(int64(n), 0))
	}
	changed := 0
	for name, now := range endpoints(t, c) {
		if was, ok := before[name]; ok && was != now {
			changed++
		}
	}
	if changed != 10 { // of 12, without default/kubernetes and the DNS
		t.Errorf("%d slices changed, want all 10", changed)
	}
	for range 10 {
		c.Churn(time.Unix(100, 0))
	}
	probe.Remove()
	if diff := cmp.Diff(before, endpoints(t, c)); diff != "" {
		t.Errorf("after the way back (-want +got):\n%s", diff)
	}
	c.Churn(time.Unix(100, 0))
	c.Probe(3).Put('A')
	c.Reset()
	if diff := cmp.Diff(before, endpoints(t, c)); diff != "" {
		t.Errorf("after Reset (-want +got):\n%s", diff)
	}
}

// endpoints lists the addresses of each slice.
func endpoints(t *testing.T, c *Cluster) map[string]string {
	t.Helper()
	answer := httptest.NewRecorder()
	c.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/apis/discovery.k8s.io/v1/endpointslices", nil))
	var list discoveryv1.EndpointSliceList
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, s := range list.Items {
		var addrs []string
		for _, e := range s.Endpoints {
			addrs = append(addrs, e.Addresses...)
		}
		found[s.Namespace+"/"+s.Name] = strings.Join(addrs, " ")
	}
	return found
}
