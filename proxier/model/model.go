// Package model holds what the proxy believes about the cluster: Services, endpoints and the own node, as
// checked values of one IP family each.
//
// A value in here has passed watcher/convert: addresses are unmapped and canonical, ports are not zero,
// names are safe to print into iptables input. Nothing in here knows API objects, rules or the kernel.
//
// The one rule to respect: a value that has been handed out is never changed again. Snapshots share them.
package model

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"espalier/proxier/ipproto"
)

// ServiceName identifies a Service.
type ServiceName struct {
	Namespace, Name string
}

// String returns "namespace/name".
func (n ServiceName) String() string { return n.Namespace + "/" + n.Name }

// Compare orders by namespace, then by name.
func (n ServiceName) Compare(o ServiceName) int {
	return cmp.Or(strings.Compare(n.Namespace, o.Namespace), strings.Compare(n.Name, o.Name))
}

// PortKey connects a port of a Service with the ports of its EndpointSlices: they match by name and
// protocol alone. The name of an unnamed port is empty.
type PortKey struct {
	Name  string
	Proto ipproto.Proto
}

// ServicePort is one element of spec.ports.
type ServicePort struct {
	PortKey
	Port     uint16 // on the cluster IP, the external IPs and the load-balancer VIPs; never zero
	NodePort uint16 // zero: none
}

// Service is one Service as one IP family sees it.
type Service struct {
	Name      ServiceName
	ClusterIP netip.Addr
	// ExternalIPs and VIPs are in the order of the object, without duplicates. VIPs are the load-balancer
	// addresses whose ipMode is unset or VIP.
	ExternalIPs, VIPs []netip.Addr
	// SourceRanges restrict who may use the VIPs; none: everybody may. Masked, in the order of the object.
	SourceRanges []netip.Prefix
	// Affinity is how long a client keeps its endpoint; zero: no session affinity. Whole seconds.
	Affinity time.Duration
	// InternalLocal: internalTrafficPolicy is Local.
	InternalLocal bool
	// ExternalLocal: externalTrafficPolicy is Local and the Service is of a kind for which it counts.
	ExternalLocal bool
	// HealthCheckNodePort is where load balancers ask for local endpoints; zero: none.
	HealthCheckNodePort uint16
	// Ports are in the order of the object.
	Ports []ServicePort
}

// Equal reports whether both describe the same Service in every respect.
func (s *Service) Equal(o *Service) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Name == o.Name && s.ClusterIP == o.ClusterIP && s.Affinity == o.Affinity &&
		s.InternalLocal == o.InternalLocal && s.ExternalLocal == o.ExternalLocal &&
		s.HealthCheckNodePort == o.HealthCheckNodePort &&
		slices.Equal(s.ExternalIPs, o.ExternalIPs) && slices.Equal(s.VIPs, o.VIPs) &&
		slices.Equal(s.SourceRanges, o.SourceRanges) && slices.Equal(s.Ports, o.Ports)
}

// PortName returns "namespace/name:port", or "namespace/name" for an unnamed port. Comments and the hashes
// of chain names are made of it.
func (s *Service) PortName(p ServicePort) string {
	if p.Name == "" {
		return s.Name.String()
	}
	return s.Name.String() + ":" + p.Name
}

// Names is a set of zone or node names in canonical form: sorted, without duplicates, joined by commas.
// The zero value is the empty set. It is a string so that an Endpoint stays comparable.
type Names string

// NewNames returns the set of the given names. Empty names, and names with a comma, which no zone or node
// can have, are left out.
func NewNames(names ...string) Names {
	switch len(names) {
	case 0:
		return ""
	case 1: // nearly every endpoint: no copy
		if !strings.Contains(names[0], ",") {
			return Names(names[0])
		}
		return ""
	}
	kept := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" || strings.Contains(n, ",") })
	slices.Sort(kept)
	return Names(strings.Join(slices.Compact(kept), ","))
}

// Has reports whether name is in the set. The empty name never is.
func (n Names) Has(name string) bool {
	if name == "" {
		return false
	}
	for one := range strings.SplitSeq(string(n), ",") {
		if one == name {
			return true
		}
	}
	return false
}

// Endpoint is one address and port behind a Service port.
type Endpoint struct {
	Addr netip.AddrPort
	// Local: it runs on this node.
	Local bool
	// Ready, Serving and Terminating are the conditions of the EndpointSlice, with the API's defaults for
	// missing ones (ready, serving, not terminating).
	Ready, Serving, Terminating bool
	// ZoneHints and NodeHints say for whom the control plane meant it.
	ZoneHints, NodeHints Names
}

// CompareEndpoints orders by the text of address and port, byte by byte: 10.2.2.22:22 precedes 10.2.2.2:22.
// The reference uses the same order, so affinity lists are looked up alike.
func CompareEndpoints(a, b Endpoint) int {
	return strings.Compare(a.Addr.String(), b.Addr.String())
}

// Backends are the endpoints of each port of one Service, ordered by CompareEndpoints, without duplicates.
type Backends map[PortKey][]Endpoint

// Node is the node that this process runs on.
type Node struct {
	Name string
	// Zone is the label topology.kubernetes.io/zone; empty: unknown.
	Zone string
	// IP is the address of this family by which the cluster knows the node; the zero Addr: unknown.
	IP netip.Addr
	// PodCIDR is the first of spec.podCIDRs of this family; the zero Prefix: none.
	PodCIDR netip.Prefix
	// Addrs are all addresses of this family on any interface of the node, sorted.
	Addrs []netip.Addr
}

// Entry is a Service with what stands behind it.
type Entry struct {
	Service  *Service
	Backends Backends // nil: no endpoints
}

// Snapshot is the whole cluster as one family sees it, at one moment.
type Snapshot struct {
	Family   ipproto.Family
	Node     Node
	Services map[ServiceName]Entry
}

// Step is what changed in the cluster, as one family sees it, since the reader of a source looked last.
type Step struct {
	Family ipproto.Family
	Node   Node
	// All: Services is the whole cluster, because the reader has seen nothing yet. Else it has only those
	// that changed; one without a Service is gone.
	All      bool
	Services map[ServiceName]Entry
}
