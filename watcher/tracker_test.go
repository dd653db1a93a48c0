package watcher

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

var compareAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

var (
	web = model.ServiceName{Namespace: "shop", Name: "web"}
	api = model.ServiceName{Namespace: "shop", Name: "api"}
	tcp = model.PortKey{Name: "http", Proto: ipproto.TCP}
)

func service(name model.ServiceName, clusterIP string) *model.Service {
	return &model.Service{
		Name: name, ClusterIP: netip.MustParseAddr(clusterIP),
		Ports: []model.ServicePort{{PortKey: tcp, Port: 80}},
	}
}

// slice is an EndpointSlice in the family of its addresses, which must be at least one.
func slice(name string, of model.ServiceName, addrs ...string) *model.Slice {
	s := &model.Slice{
		Name: model.SliceName{Namespace: of.Namespace, Name: name}, Service: of,
		Family: ipproto.FamilyOf(netip.MustParseAddr(addrs[0])),
		Ports:  []model.SlicePort{{PortKey: tcp, Port: 8080}},
	}
	for _, a := range addrs {
		s.Addresses = append(s.Addresses, model.SliceAddress{Addr: netip.MustParseAddr(a), Ready: true, Serving: true})
	}
	return s
}

// endpoints returns what a snapshot has for a Service: its endpoints as text, or "no Service".
func endpoints(s model.Snapshot, name model.ServiceName) []string {
	entry, ok := s.Services[name]
	if !ok {
		return []string{"no Service"}
	}
	var texts []string
	for _, e := range entry.Backends[tcp] {
		texts = append(texts, e.Addr.String())
	}
	return texts
}

func mustSnapshot(t *testing.T, v *View) (model.Snapshot, Stamp) {
	t.Helper()
	s, stamp, ok := v.Snapshot()
	if !ok {
		t.Fatal("there is no snapshot")
	}
	return s, stamp
}

// awake takes the token, if there is one.
func awake(v *View) bool {
	select {
	case <-v.Changed():
		return true
	default:
		return false
	}
}

// synced returns a Tracker with the Service shop/web with one endpoint in IPv4, and a view that has seen it.
func synced(t *testing.T) (*Tracker, *View) {
	t.Helper()
	tracker := New()
	tracker.SetService(web, service(web, "10.96.0.1"))
	tracker.SetSlice(slice("web-1", web, "10.128.0.1"))
	tracker.SetSynced()
	v := tracker.View(ipproto.IPv4)
	mustSnapshot(t, v)
	return tracker, v
}

func TestChanges(t *testing.T) {
	for _, test := range []struct {
		name      string
		change    func(*Tracker)
		wakes     bool
		changed   []model.ServiceName
		endpoints []string // of shop/web afterwards
	}{
		{
			"the same Service again is no change",
			func(tr *Tracker) { tr.SetService(web, service(web, "10.96.0.1")) },
			false, nil, []string{"10.128.0.1:8080"},
		},
		{
			"the same slice again is no change",
			func(tr *Tracker) { tr.SetSlice(slice("web-1", web, "10.128.0.1")) },
			false, nil, []string{"10.128.0.1:8080"},
		},
		{
			"another cluster IP",
			func(tr *Tracker) { tr.SetService(web, service(web, "10.96.0.2")) },
			true, []model.ServiceName{web}, []string{"10.128.0.1:8080"},
		},
		{
			"a Service that moves to the other family leaves this one",
			func(tr *Tracker) { tr.SetService(web, service(web, "fd00:96::1")) },
			true, []model.ServiceName{web}, []string{"no Service"},
		},
		{
			"the other family's address is no change here",
			func(tr *Tracker) {
				tr.SetService(web, service(web, "10.96.0.1"), service(web, "fd00:96::1"))
				tr.SetSlice(slice("web-2", web, "fd00:128::1"))
			},
			false, nil, []string{"10.128.0.1:8080"},
		},
		{
			"deleting the Service",
			func(tr *Tracker) { tr.DeleteService(web) },
			true, []model.ServiceName{web}, []string{"no Service"},
		},
		{
			"deleting what is not there",
			func(tr *Tracker) {
				tr.DeleteService(api)
				tr.DeleteSlice(model.SliceName{Namespace: "shop", Name: "api-1"})
			},
			false, nil, []string{"10.128.0.1:8080"},
		},
		{
			"a second slice adds endpoints",
			func(tr *Tracker) { tr.SetSlice(slice("web-2", web, "10.128.0.2")) },
			true, []model.ServiceName{web}, []string{"10.128.0.1:8080", "10.128.0.2:8080"},
		},
		{
			"deleting the only slice leaves the Service without endpoints",
			func(tr *Tracker) { tr.DeleteSlice(model.SliceName{Namespace: "shop", Name: "web-1"}) },
			true, []model.ServiceName{web}, nil,
		},
		{
			"slices of a Service that does not exist matter to nobody",
			func(tr *Tracker) { tr.SetSlice(slice("api-1", api, "10.128.0.9")) },
			false, nil, []string{"10.128.0.1:8080"},
		},
		{
			"a slice that another Service gets leaves the old one",
			func(tr *Tracker) {
				tr.SetService(api, service(api, "10.96.0.9"))
				tr.SetSlice(slice("web-1", api, "10.128.0.1"))
			},
			true, []model.ServiceName{api, web}, nil,
		},
		{
			"a slice that changes its family leaves the old one",
			func(tr *Tracker) { tr.SetSlice(slice("web-1", web, "fd00:128::1")) },
			true, []model.ServiceName{web}, nil,
		},
		{
			"a change and its reversal wake up, but change nothing",
			func(tr *Tracker) {
				tr.SetService(web, service(web, "10.96.0.2"))
				tr.SetService(web, service(web, "10.96.0.1"))
			},
			true, nil, []string{"10.128.0.1:8080"},
		},
		{
			"so does an endpoint that moves to another slice",
			func(tr *Tracker) {
				tr.DeleteSlice(model.SliceName{Namespace: "shop", Name: "web-1"})
				tr.SetSlice(slice("web-2", web, "10.128.0.1"))
			},
			true, nil, []string{"10.128.0.1:8080"},
		},
		{
			"and a Service that came and went",
			func(tr *Tracker) {
				tr.SetService(api, service(api, "10.96.0.9"))
				tr.DeleteService(api)
			},
			true, nil, []string{"10.128.0.1:8080"},
		},
		{
			"slices that change while the Service is away count when it is back",
			func(tr *Tracker) {
				tr.DeleteService(web)
				tr.SetSlice(slice("web-1", web, "10.128.0.7"))
				tr.SetService(web, service(web, "10.96.0.1"))
			},
			true, []model.ServiceName{web}, []string{"10.128.0.7:8080"},
		},
		{
			"the node changes all and none of them",
			func(tr *Tracker) { tr.SetNode(ipproto.IPv4, model.Node{Name: "n", Zone: "z"}) },
			true, nil, []string{"10.128.0.1:8080"},
		},
		{
			"the same node again is no change",
			func(tr *Tracker) { tr.SetNode(ipproto.IPv4, model.Node{}) },
			false, nil, []string{"10.128.0.1:8080"},
		},
		{
			"the other family's node is none here",
			func(tr *Tracker) { tr.SetNode(ipproto.IPv6, model.Node{Name: "n"}) },
			false, nil, []string{"10.128.0.1:8080"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			tracker, v := synced(t)
			before, stamp := mustSnapshot(t, v)
			test.change(tracker)

			if pending := !v.Pending().Since.IsZero(); pending != test.wakes {
				t.Errorf("changes are pending: %v, want %v", pending, test.wakes)
			}
			if got := awake(v); got != test.wakes {
				t.Errorf("the reader wakes up: %v, want %v", got, test.wakes)
			}
			after, next := mustSnapshot(t, v)
			if diff := cmp.Diff(test.endpoints, endpoints(after, web)); diff != "" {
				t.Errorf("endpoints of shop/web (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.changed, next.Changed); diff != "" {
				t.Errorf("Services that changed (-want +got):\n%s", diff)
			}
			if grew := next.Version > stamp.Version; grew != test.wakes || next.Version < stamp.Version {
				t.Errorf("version %d follows %d", next.Version, stamp.Version)
			}
			if since := !next.Since.IsZero(); since != test.wakes {
				t.Errorf("the snapshot shows something new: %v, want %v", since, test.wakes)
			}
			if diff := cmp.Diff([]string{"10.128.0.1:8080"}, endpoints(before, web)); diff != "" {
				t.Errorf("a snapshot that was taken before has changed (-want +got):\n%s", diff)
			}
			if awake(v) || !v.Pending().Since.IsZero() {
				t.Error("the reader is woken up for what it has seen")
			}
		})
	}
}

func TestSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker := New()
		v := tracker.View(ipproto.IPv4)
		tracker.SetService(web, service(web, "10.96.0.1"))
		time.Sleep(time.Minute)
		if _, _, ok := v.Snapshot(); ok || awake(v) || !v.Pending().Since.IsZero() {
			t.Fatal("an incomplete state is shown")
		}

		complete := time.Now()
		tracker.SetSynced()
		if !awake(v) {
			t.Fatal("the reader sleeps although the state is complete")
		}
		s, stamp := mustSnapshot(t, v)
		if len(s.Services) != 1 || s.Family != ipproto.IPv4 {
			t.Errorf("snapshot %+v, want shop/web in ipv4", s)
		}
		if want := (Stamp{Version: stamp.Version, Since: complete, All: true}); !cmp.Equal(stamp, want) {
			t.Errorf("stamp %+v, want %+v", stamp, want)
		}

		tracker.SetSynced() // again: nothing
		if awake(v) {
			t.Error("the second SetSynced wakes the reader up")
		}
		late := tracker.View(ipproto.IPv6)
		if !awake(late) {
			t.Error("a view that comes late does not learn that there is a state")
		}
		if s, stamp := mustSnapshot(t, late); !stamp.All || len(s.Services) != 0 {
			t.Errorf("snapshot %+v with stamp %+v, want an empty one that says it is the first", s, stamp)
		}
	})
}

func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker, v := synced(t)
		other := tracker.View(ipproto.IPv4)
		mustSnapshot(t, other)

		time.Sleep(time.Second)
		first := time.Now()
		for i := range 1000 {
			time.Sleep(time.Millisecond)
			s := service(web, "10.96.0.1")
			s.HealthCheckNodePort = uint16(i + 1)
			tracker.SetService(web, s)
		}
		first = first.Add(time.Millisecond)

		if got := v.Pending().Since; !got.Equal(first) {
			t.Errorf("pending since %v, want %v", got, first)
		}
		if !awake(v) || awake(v) {
			t.Error("a thousand changes are not one wake-up")
		}
		if _, stamp := mustSnapshot(t, v); !stamp.Since.Equal(first) {
			t.Errorf("changes since %v, want %v, when the first came", stamp.Since, first)
		}
		if _, stamp := mustSnapshot(t, v); !stamp.Since.IsZero() {
			t.Errorf("changes since %v, want none", stamp.Since)
		}
		// What one reader has seen is still new for the other.
		if _, stamp := mustSnapshot(t, other); !stamp.Since.Equal(first) || !cmp.Equal(stamp.Changed, []model.ServiceName{web}) {
			t.Errorf("the other reader's stamp is %+v", stamp)
		}

		// A change that comes while the reader works with its snapshot is pending again.
		time.Sleep(time.Second)
		second := time.Now()
		tracker.DeleteService(web)
		if got := v.Pending().Since; !got.Equal(second) {
			t.Errorf("pending since %v, want %v", got, second)
		}
	})
}

// TestWaiting is how a reader uses a view.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker, v := synced(t)
		var seen []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			<-v.Changed()
			s, _, _ := v.Snapshot()
			seen = endpoints(s, web)
		}()
		synctest.Wait()
		if seen != nil {
			t.Fatal("the reader did not wait")
		}
		tracker.SetSlice(slice("web-1", web, "10.128.0.5"))
		<-done
		if diff := cmp.Diff([]string{"10.128.0.5:8080"}, seen); diff != "" {
			t.Errorf("endpoints (-want +got):\n%s", diff)
		}
	})
}
