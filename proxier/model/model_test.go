package model

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"espalier/proxier/ipproto"
)

// TestServiceEqualSeesEveryField fails for a field that Equal forgets, also one added later.
func TestServiceEqualSeesEveryField(t *testing.T) {
	full := func() *Service {
		addr := netip.MustParseAddr("10.0.0.1")
		return &Service{
			Name: ServiceName{"shop", "web"}, ClusterIP: addr,
			ExternalIPs: []netip.Addr{addr}, VIPs: []netip.Addr{addr},
			SourceRanges: []netip.Prefix{netip.PrefixFrom(addr, 32)},
			Affinity:     time.Second, InternalLocal: true, ExternalLocal: true, HealthCheckNodePort: 1,
			Ports: []ServicePort{{PortKey: PortKey{"p", ipproto.TCP}, Port: 80, NodePort: 1}},
		}
	}
	if !full().Equal(full()) {
		t.Fatal("a Service is not equal to its like")
	}
	for i := range reflect.TypeFor[Service]().NumField() {
		field := reflect.TypeFor[Service]().Field(i)
		changed := full()
		value := reflect.ValueOf(changed).Elem().Field(i)
		if value.IsZero() {
			t.Errorf("%s is not set in the test", field.Name)
		}
		value.SetZero()
		if changed.Equal(full()) || full().Equal(changed) {
			t.Errorf("a difference in %s is not seen", field.Name)
		}
	}
	var none *Service
	if none.Equal(full()) || full().Equal(none) || !none.Equal(nil) {
		t.Error("nil is equal to nil alone")
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		in   []string
		want Names
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"a"}, "a"},
		{[]string{"a,b"}, ""},
		{[]string{"b", "a", "b", "", "c,d"}, "a,b"},
	} {
		if got := NewNames(test.in...); got != test.want {
			t.Errorf("NewNames(%q) is %q, want %q", test.in, got, test.want)
		}
	}
	set := NewNames("zone-a", "zone-b")
	for name, want := range map[string]bool{"zone-a": true, "zone-b": true, "zone": false, "": false, "zone-a,zone-b": false} {
		if set.Has(name) != want {
			t.Errorf("%q has %q: %v, want %v", set, name, !want, want)
		}
	}
	if NewNames().Has("") {
		t.Error("the empty set has the empty name")
	}
}

func TestPortName(t *testing.T) {
	s := &Service{Name: ServiceName{"ns1", "svc1"}}
	for name, want := range map[string]string{"p80": "ns1/svc1:p80", "": "ns1/svc1"} {
		if got := s.PortName(ServicePort{PortKey: PortKey{Name: name}}); got != want {
			t.Errorf("port %q is named %q, want %q", name, got, want)
		}
	}
}
