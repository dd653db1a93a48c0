package watcher

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// same reports whether both maps are one in memory.
func same(a, b any) bool { return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer() }

func TestSnapshotsShareWhatDidNotChange(t *testing.T) {
	tracker, v := synced(t)
	tracker.SetService(api, service(api, "10.96.0.9"))
	tracker.SetSlice(slice("api-1", api, "10.128.0.9"))
	one, _ := mustSnapshot(t, v)

	if n := len(v.cluster.stale); n > 0 {
		t.Errorf("%d Services would be computed again for the next snapshot", n)
	}
	if again, _ := mustSnapshot(t, v); !same(one.Services, again.Services) {
		t.Error("nothing changed, but the table of Services is another one")
	}

	tracker.SetSlice(slice("api-1", api, "10.128.0.10"))
	two, _ := mustSnapshot(t, v)
	if one.Services[web].Service != two.Services[web].Service || !same(one.Services[web].Backends, two.Services[web].Backends) {
		t.Error("shop/web did not change, but is another value")
	}
	if one.Services[api].Service != two.Services[api].Service {
		t.Error("slices of shop/api changed, but the Service is another value")
	}
	if same(one.Services[api].Backends, two.Services[api].Backends) {
		t.Error("slices of shop/api changed, but its endpoints are the same value")
	}

	tracker.SetService(api, service(api, "10.96.0.8"))
	three, _ := mustSnapshot(t, v)
	if !same(two.Services[api].Backends, three.Services[api].Backends) {
		t.Error("no slice of shop/api changed, but its endpoints are another value")
	}

	// Moved from slice to slice and back again: another way to the same state.
	tracker.SetSlice(slice("api-2", api, "10.128.0.10"))
	tracker.SetNode(ipproto.IPv4, model.Node{Name: "n"})
	four, stamp := mustSnapshot(t, v)
	if !same(three.Services, four.Services) || stamp.Changed != nil {
		t.Errorf("the same endpoints in two slices are reported as a change of %v", stamp.Changed)
	}
	if four.Node.Name != "n" {
		t.Errorf("the node is %q, want n", four.Node.Name)
	}
}

func TestReplace(t *testing.T) {
	state := func() State {
		return State{
			Services: map[model.ServiceName][]*model.Service{
				web: {service(web, "10.96.0.1"), service(web, "fd00:96::1")},
				api: {service(api, "10.96.0.2")},
			},
			Slices: map[model.SliceName]*model.Slice{},
			Nodes:  map[ipproto.Family]model.Node{ipproto.IPv4: {Name: "n", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}},
		}
	}
	with := func(s State, slices ...*model.Slice) State {
		for _, one := range slices {
			s.Slices[one.Name] = one
		}
		return s
	}
	first := with(state(), slice("web-1", web, "10.128.0.1"), slice("web-6", web, "fd00:128::1"), slice("api-1", api, "10.128.0.2"))

	tracker := New()
	tracker.SetNode(ipproto.IPv6, model.Node{Name: "n6"})
	tracker.Replace(first)
	tracker.SetSynced()
	v4, v6 := tracker.View(ipproto.IPv4), tracker.View(ipproto.IPv6)
	before4, _ := mustSnapshot(t, v4)
	before6, _ := mustSnapshot(t, v6)
	if before6.Node.Name != "n6" || before4.Node.Name != "n" {
		t.Errorf("nodes %q and %q, want n6, which the state does not name, and n", before6.Node.Name, before4.Node.Name)
	}

	tracker.Replace(with(state(), slice("web-1", web, "10.128.0.1"), slice("web-6", web, "fd00:128::1"), slice("api-1", api, "10.128.0.2")))
	if awake(v4) || awake(v6) {
		t.Error("an equal state wakes readers up")
	}

	second := with(state(), slice("web-1", web, "10.128.0.1", "10.128.0.3"), slice("web-6", web, "fd00:128::1"))
	delete(second.Services, api)
	tracker.Replace(second)
	if !awake(v4) || awake(v6) {
		t.Error("want IPv4 alone to wake up: it lost shop/api and got an endpoint")
	}
	after, stamp := mustSnapshot(t, v4)
	if diff := cmp.Diff([]model.ServiceName{api, web}, stamp.Changed); diff != "" {
		t.Errorf("Services that changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"no Service"}, endpoints(after, api)); diff != "" {
		t.Errorf("shop/api (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"10.128.0.1:8080", "10.128.0.3:8080"}, endpoints(after, web)); diff != "" {
		t.Errorf("shop/web (-want +got):\n%s", diff)
	}
	if before4.Services[web].Service != after.Services[web].Service {
		t.Error("shop/web is equal, but another value")
	}
	// shop/api comes back: the endpoints must be those of now, that is none.
	tracker.SetService(api, service(api, "10.96.0.2"))
	if back, _ := mustSnapshot(t, v4); len(endpoints(back, api)) != 0 {
		t.Errorf("shop/api has endpoints %v of a slice that is gone", endpoints(back, api))
	}
}

// TestAnyPathLeadsToTheSameState plays random changes and compares each snapshot with that of a new Tracker
// that was told the final state only. Stamp.Changed must name exactly what differs from the snapshot before.
func TestAnyPathLeadsToTheSameState(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	pick := func(texts ...string) string { return texts[r.IntN(len(texts))] }
	name := func() model.ServiceName { return model.ServiceName{Namespace: "ns", Name: pick("a", "b", "c")} }

	tracker := New()
	tracker.SetSynced()
	views := map[ipproto.Family]*View{ipproto.IPv4: tracker.View(ipproto.IPv4), ipproto.IPv6: tracker.View(ipproto.IPv6)}
	last := map[ipproto.Family]model.Snapshot{}
	state := State{Services: map[model.ServiceName][]*model.Service{}, Slices: map[model.SliceName]*model.Slice{}, Nodes: map[ipproto.Family]model.Node{}}
	for step := range 3000 {
		switch n := name(); r.IntN(6) {
		case 0, 1:
			var perFamily []*model.Service
			if r.IntN(3) > 0 {
				perFamily = append(perFamily, service(n, pick("10.96.0.1", "10.96.0.2")))
			}
			if r.IntN(3) > 0 {
				perFamily = append(perFamily, service(n, "fd00:96::1"))
			}
			state.Services[n] = perFamily
			tracker.SetService(n, perFamily...)
		case 2:
			delete(state.Services, n)
			tracker.DeleteService(n)
		case 3, 4:
			s := slice(pick("s1", "s2", "s3"), n, pick("10.128.0.1", "10.128.0.2", "fd00:128::1"))
			state.Slices[s.Name] = s
			tracker.SetSlice(s)
		case 5:
			s := model.SliceName{Namespace: "ns", Name: pick("s1", "s2", "s3")}
			delete(state.Slices, s)
			tracker.DeleteSlice(s)
		}
		if r.IntN(3) > 0 {
			continue // several changes before the next snapshot
		}
		fresh := New()
		fresh.Replace(state)
		fresh.SetSynced()
		for f, v := range views {
			woken := awake(v)
			got, stamp := mustSnapshot(t, v)
			want, _ := mustSnapshot(t, fresh.View(f))
			if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
				t.Fatalf("seed %d, step %d, %v: the path matters (-fresh +played):\n%s", seed, step, f, diff)
			}
			if diff := cmp.Diff(differing(last[f], got), stamp.Changed); !stamp.All && diff != "" {
				t.Fatalf("seed %d, step %d, %v: Services that changed (-want +got):\n%s", seed, step, f, diff)
			}
			if !woken && !same(last[f].Services, got.Services) {
				t.Fatalf("seed %d, step %d, %v: a change without a wake-up", seed, step, f)
			}
			last[f] = got
		}
	}
}

// differing returns the Services that the two snapshots do not share.
func differing(a, b model.Snapshot) []model.ServiceName {
	var names []model.ServiceName
	for _, n := range []string{"a", "b", "c"} {
		name := model.ServiceName{Namespace: "ns", Name: n}
		ea, inA := a.Services[name]
		eb, inB := b.Services[name]
		if inA != inB || !sameEntry(ea, eb) {
			names = append(names, name)
		}
	}
	return names
}

// TestConcurrently gives the race detector something to look at.
func TestConcurrently(t *testing.T) {
	tracker, v := synced(t)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 200 {
				name := model.ServiceName{Namespace: "ns", Name: fmt.Sprint(i % 7)}
				switch (w + i) % 4 {
				case 0:
					tracker.SetService(name, service(name, fmt.Sprintf("10.96.1.%d", i)))
				case 1:
					tracker.SetSlice(slice(fmt.Sprint(w), name, fmt.Sprintf("10.128.1.%d", i)))
				case 2:
					tracker.DeleteService(name)
				case 3:
					tracker.DeleteSlice(model.SliceName{Namespace: "ns", Name: fmt.Sprint(w)})
				}
			}
		})
	}
	stop := make(chan struct{})
	go func() {
		writers.Wait()
		tracker.SetService(web, service(web, "10.96.9.9"))
		close(stop)
	}()
	read := func() model.Snapshot {
		s, _ := mustSnapshot(t, v)
		for _, e := range s.Services {
			for _, list := range e.Backends {
				_ = append([]model.Endpoint(nil), list...)
			}
		}
		return s
	}
	for {
		select {
		case <-v.Changed():
			read()
			continue
		case <-stop:
		}
		break
	}
	if got := read().Services[web].Service.ClusterIP.String(); got != "10.96.9.9" {
		t.Errorf("the last change is lost: shop/web is at %s", got)
	}
}
