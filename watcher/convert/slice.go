package convert

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// Options are what the conversion of endpoints depends on besides the object.
type Options struct {
	// NodeName is the own node's name: endpoints on it are local. Empty: none is.
	NodeName string
}

// Slice returns the EndpointSlice, or nil if there is nothing in it for the proxy: it belongs to a headless
// Service or to no Service, or its addresses are host names.
//
// Fields that are missing have the API's defaults: an empty port name, protocol TCP, conditions ready and
// serving but not terminating.
func Slice(s *discoveryv1.EndpointSlice, o Options) (*model.Slice, []model.Problem) {
	if s == nil || s.AddressType == discoveryv1.AddressTypeFQDN {
		return nil, nil
	}
	service := s.Labels[discoveryv1.LabelServiceName]
	if _, headless := s.Labels[corev1.IsHeadlessService]; headless || service == "" {
		return nil, nil
	}
	r := newReport("EndpointSlice", s.Namespace, s.Name)
	const follows = "the slice is left out"
	if !isSubdomain(s.Name) {
		r.add("metadata.name", "%q is not a DNS subdomain: %s; %s", clip(s.Name), wantSubdomain, follows)
		return nil, r.problems
	}
	if !r.namespace(s.Namespace, follows) || !r.label("metadata.labels["+discoveryv1.LabelServiceName+"]", service, follows) {
		return nil, r.problems
	}
	family, err := ipproto.ParseFamily(string(s.AddressType))
	if err != nil {
		r.add("addressType", "%q is not IPv4, IPv6 or FQDN; %s", clip(string(s.AddressType)), follows)
		return nil, r.problems
	}
	m := &model.Slice{
		Name:    model.SliceName{Namespace: s.Namespace, Name: s.Name},
		Service: model.ServiceName{Namespace: s.Namespace, Name: service},
		Family:  family,
		Ports:   r.slicePorts(s.Ports),
	}
	m.Addresses = make([]model.SliceAddress, 0, len(s.Endpoints))
	for i := range s.Endpoints {
		if a, ok := r.sliceAddress(indexed("endpoints[%d]", i), &s.Endpoints[i], family, o); ok {
			m.Addresses = append(m.Addresses, a)
		}
	}
	m.Addresses = slices.Clip(m.Addresses)
	return m, r.problems
}

// slicePorts returns the usable ports in the order of the object.
func (r *report) slicePorts(ports []discoveryv1.EndpointPort) []model.SlicePort {
	var kept []model.SlicePort
	for i := range ports {
		p, field := &ports[i], indexed("ports[%d]", i)
		if p.Port == nil {
			r.add(field+".port", "there is no number, and a proxy cannot serve all ports; the port is left out")
			continue
		}
		kept = r.appendPort(kept, field, deref(p.Name), string(deref(p.Protocol)), *p.Port)
	}
	return slices.Clip(kept)
}

// appendPort appends a port unless something is wrong with it.
func (r *report) appendPort(ports []model.SlicePort, field, name, protocol string, number int32) []model.SlicePort {
	key, ok := r.portKey(field, name, protocol)
	if !ok {
		return ports
	}
	n, ok := r.port(field+".port", number, "the port is left out")
	if !ok {
		return ports
	}
	if slices.ContainsFunc(ports, func(o model.SlicePort) bool { return o.PortKey == key }) {
		r.add(field+".name", "%q is used twice with protocol %v; the second port is left out", key.Name, key.Proto)
		return ports
	}
	return append(ports, model.SlicePort{PortKey: key, Port: n})
}

// sliceAddress reads one endpoint. Only its first address counts: the API says so since the others never had
// a meaning.
func (r *report) sliceAddress(field string, e *discoveryv1.Endpoint, f ipproto.Family, o Options) (model.SliceAddress, bool) {
	if len(e.Addresses) == 0 {
		r.add(field+".addresses", "there is none; the endpoint is left out")
		return model.SliceAddress{}, false
	}
	addr, ok := r.endpointAddr(field+".addresses[0]", e.Addresses[0], f)
	if !ok {
		return model.SliceAddress{}, false
	}
	c := e.Conditions
	a := model.SliceAddress{
		Addr:        addr,
		Local:       isLocal(e.NodeName, o),
		Ready:       c.Ready == nil || *c.Ready,
		Serving:     c.Serving == nil || *c.Serving,
		Terminating: deref(c.Terminating),
	}
	if h := e.Hints; h != nil {
		var zones, nodes []string
		for _, z := range h.ForZones {
			zones = append(zones, z.Name)
		}
		for _, n := range h.ForNodes {
			nodes = append(nodes, n.Name)
		}
		a.ZoneHints, a.NodeHints = model.NewNames(zones...), model.NewNames(nodes...)
	}
	return a, true
}

// endpointAddr checks the address of an endpoint. The unknown family admits both.
func (r *report) endpointAddr(field, text string, f ipproto.Family) (netip.Addr, bool) {
	addr, err := ParseAddr(text)
	if err != nil {
		r.add(field, "%v; the endpoint is left out", err)
		return netip.Addr{}, false
	}
	if f != ipproto.UnknownFamily && ipproto.FamilyOf(addr) != f {
		r.add(field, "%v is not an %s address; the endpoint is left out", addr, familyName(f))
		return netip.Addr{}, false
	}
	if what := special(addr); what != "" {
		r.add(field, "%v is %s, which no endpoint may have; the endpoint is left out", addr, what)
		return netip.Addr{}, false
	}
	return addr, true
}

func isLocal(nodeName *string, o Options) bool {
	return o.NodeName != "" && deref(nodeName) == o.NodeName
}

// deref returns what p points to, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
