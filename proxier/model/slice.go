package model

import (
	"net/netip"

	"espalier/proxier/ipproto"
)

// SliceName identifies an EndpointSlice.
type SliceName struct {
	Namespace, Name string
}

// Slice is one EndpointSlice: the product of its ports and its addresses is a part of a Service's endpoints.
type Slice struct {
	Name      SliceName
	Service   ServiceName
	Family    ipproto.Family
	Ports     []SlicePort
	Addresses []SliceAddress
}

// SlicePort is one port of an EndpointSlice, the port on which the endpoints listen.
type SlicePort struct {
	PortKey
	Port uint16 // never zero
}

// SliceAddress is one endpoint of an EndpointSlice without its port; the fields mean what they mean in Endpoint.
type SliceAddress struct {
	Addr                               netip.Addr
	Local, Ready, Serving, Terminating bool
	ZoneHints, NodeHints               Names
}
