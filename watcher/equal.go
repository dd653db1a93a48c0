package watcher

import (
	"maps"
	"reflect"
	"slices"

	"espalier/proxier/model"
)

// equalSlice reports whether both describe the same endpoints of the same Service under the same name.
func equalSlice(a, b *model.Slice) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Name == b.Name && a.Service == b.Service && a.Family == b.Family &&
		slices.Equal(a.Ports, b.Ports) && slices.Equal(a.Addresses, b.Addresses)
}

func equalNode(a, b model.Node) bool {
	return a.Name == b.Name && a.Zone == b.Zone && a.IP == b.IP && a.PodCIDR == b.PodCIDR &&
		slices.Equal(a.Addrs, b.Addrs)
}

func equalBackends(a, b model.Backends) bool {
	return maps.EqualFunc(a, b, slices.Equal[[]model.Endpoint])
}

// sameEntry reports whether both entries are made of the same values in memory.
func sameEntry(a, b model.Entry) bool {
	return a.Service == b.Service && reflect.ValueOf(a.Backends).Pointer() == reflect.ValueOf(b.Backends).Pointer()
}
