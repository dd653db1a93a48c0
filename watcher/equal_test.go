package watcher

import (
	"net/netip"
	"reflect"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// everyField fails for a field in which equal does not see a difference, also one that is added later.
func everyField[T any](t *testing.T, make func() *T, equal func(a, b *T) bool) {
	t.Helper()
	if !equal(make(), make()) {
		t.Error("a value is not equal to its like")
	}
	for i := range reflect.TypeFor[T]().NumField() {
		changed, name := make(), reflect.TypeFor[T]().Field(i).Name
		field := reflect.ValueOf(changed).Elem().Field(i)
		if field.IsZero() {
			t.Errorf("%s is not set in the test", name)
		}
		field.SetZero()
		if equal(changed, make()) || equal(make(), changed) {
			t.Errorf("a difference in %s is not seen", name)
		}
	}
}

func TestEqualSlice(t *testing.T) {
	everyField(t, func() *model.Slice { return slice("web-1", web, "10.128.0.1") }, equalSlice)
	if equalSlice(nil, slice("web-1", web, "10.128.0.1")) || !equalSlice(nil, nil) {
		t.Error("nil is equal to nil alone")
	}
}

func TestEqualNode(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.1")
	everyField(t, func() *model.Node {
		return &model.Node{
			Name: "n", Zone: "z", IP: addr, PodCIDR: ipproto.IPv4.Loopback(), Addrs: []netip.Addr{addr},
		}
	}, func(a, b *model.Node) bool { return equalNode(*a, *b) })
}
