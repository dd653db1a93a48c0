package controlplane

import "net/netip"

// The addresses of the cluster, the primary family first.
const (
	PodCIDRs     = "10.244.0.0/16,fd00:10:244::/56"
	ServiceCIDRs = "10.96.0.0/16,fd00:10:96::/112"
)

// Port is where the API server listens, on all addresses.
const Port = 6443

// ServiceIP is the first address of the Services: that of default/kubernetes.
var ServiceIP = netip.MustParseAddr("10.96.0.1")
