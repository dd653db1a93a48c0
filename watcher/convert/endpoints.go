package convert

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// Endpoints returns the slices that say what a v1 Endpoints object says: one for each subset and family. It is
// for files; in a cluster, the control plane writes the EndpointSlices. The names of the slices contain a
// slash, so no EndpointSlice of the API has the same.
func Endpoints(e *corev1.Endpoints, o Options) ([]*model.Slice, []model.Problem) {
	if e == nil {
		return nil, nil
	}
	if _, headless := e.Labels[corev1.IsHeadlessService]; headless {
		return nil, nil
	}
	r := newReport("Endpoints", e.Namespace, e.Name)
	if !r.names(e.Namespace, e.Name, "the endpoints are left out") {
		return nil, r.problems
	}
	var parts []*model.Slice
	for i := range e.Subsets {
		subset, field := &e.Subsets[i], indexed("subsets[%d]", i)
		var ports []model.SlicePort
		for j := range subset.Ports {
			p := &subset.Ports[j]
			ports = r.appendPort(ports, fmt.Sprintf("%s.ports[%d]", field, j), p.Name, string(p.Protocol), p.Port)
		}
		addrs := r.subsetAddresses(field, subset, o)
		for _, f := range ipproto.Families {
			if len(addrs[f]) == 0 {
				continue
			}
			parts = append(parts, &model.Slice{
				Name:      model.SliceName{Namespace: e.Namespace, Name: fmt.Sprintf("%s/%s-%d", e.Name, f, i)},
				Service:   model.ServiceName{Namespace: e.Namespace, Name: e.Name},
				Family:    f,
				Ports:     ports,
				Addresses: addrs[f],
			})
		}
	}
	return parts, r.problems
}

// subsetAddresses returns the addresses of a subset by family, the ready ones first.
func (r *report) subsetAddresses(field string, s *corev1.EndpointSubset, o Options) map[ipproto.Family][]model.SliceAddress {
	byFamily := map[ipproto.Family][]model.SliceAddress{}
	add := func(list string, addrs []corev1.EndpointAddress, ready bool) {
		for i := range addrs {
			addr, ok := r.endpointAddr(fmt.Sprintf("%s.%s[%d].ip", field, list, i), addrs[i].IP, ipproto.UnknownFamily)
			if !ok {
				continue
			}
			f := ipproto.FamilyOf(addr)
			byFamily[f] = append(byFamily[f], model.SliceAddress{
				Addr: addr, Local: isLocal(addrs[i].NodeName, o), Ready: ready, Serving: ready,
			})
		}
	}
	add("addresses", s.Addresses, true)
	add("notReadyAddresses", s.NotReadyAddresses, false)
	return byFamily
}
