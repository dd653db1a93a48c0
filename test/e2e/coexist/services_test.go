package coexist

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"espalier/proxier/ipproto"
)

const (
	podPort  = 8080 // on which everybody answers
	hostPort = 9080 // of node1, to web-near
)

// vipRange are the load balancers' addresses.
var vipRange = []netip.Prefix{netip.MustParsePrefix("198.18.1.0/24"), netip.MustParsePrefix("fd00:198:18:1::/64")}

// offer is a Service of one pod.
type offer struct {
	pod      string
	number   int // the last part of its cluster IPs and its load-balancer VIPs
	nodePort uint16
	local    bool // externalTrafficPolicy
}

// offers are the Services by name. What is near is on node1, what is far on node2.
var offers = map[string]offer{
	"near":    {pod: "web-near", number: 11, nodePort: 30011},
	"far":     {pod: "web-far", number: 12, nodePort: 30012},
	"local":   {pod: "web-near", number: 13, nodePort: 30013, local: true},
	"db-near": {pod: "db-near", number: 21, nodePort: 30021},
	"db-far":  {pod: "db-far", number: 22, nodePort: 30022},
}

// clusterIP is where pods and nodes find it.
func (o offer) clusterIP(f ipproto.Family) netip.AddrPort {
	addr := fmt.Sprintf("10.96.0.%d", o.number)
	if f == ipproto.IPv6 {
		addr = fmt.Sprintf("fd00:10:96::%d", o.number)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(addr), 80)
}

// vip is its load-balancer VIP.
func (o offer) vip(f ipproto.Family) netip.AddrPort {
	addr := fmt.Sprintf("198.18.1.%d", o.number)
	if f == ipproto.IPv6 {
		addr = fmt.Sprintf("fd00:198:18:1::%d", o.number)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(addr), 80)
}

// writeManifests writes what the proxies read: nodes, Services and their endpoints.
func (n *neighbours) writeManifests() error {
	var text strings.Builder
	for _, node := range n.nodes {
		fmt.Fprintf(&text, "apiVersion: v1\nkind: Node\nmetadata: {name: %s}\nspec: {podCIDRs: [%q, %q]}\nstatus:\n  addresses:\n", node.Name, node.config.PodCIDRs[0], node.config.PodCIDRs[1])
		for _, a := range node.Addrs {
			fmt.Fprintf(&text, "  - {type: InternalIP, address: %q}\n", a)
		}
		text.WriteString("---\n")
	}
	for _, name := range slices.Sorted(maps.Keys(offers)) {
		o := offers[name]
		policy := "Cluster"
		if o.local {
			policy = "Local"
		}
		fmt.Fprintf(&text, `apiVersion: v1
kind: Service
metadata: {name: %s, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: %q
  clusterIPs: [%q, %q]
  ipFamilies: [IPv4, IPv6]
  externalTrafficPolicy: %s
  ports: [{name: http, port: 80, nodePort: %d}]
status: {loadBalancer: {ingress: [{ip: %q}, {ip: %q}]}}
---
`, name, o.clusterIP(ipproto.IPv4).Addr(), o.clusterIP(ipproto.IPv4).Addr(), o.clusterIP(ipproto.IPv6).Addr(), policy, o.nodePort,
			o.vip(ipproto.IPv4).Addr(), o.vip(ipproto.IPv6).Addr())
		for i, kind := range []string{"IPv4", "IPv6"} {
			fmt.Fprintf(&text, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-%[2]s, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}
addressType: %[3]s
ports: [{name: http, port: %[4]d}]
endpoints: [{addresses: [%[5]q], nodeName: %[6]s}]
---
`, name, strings.ToLower(kind), kind, podPort, n.pods[o.pod].Addrs[i], n.home[o.pod])
		}
	}
	return os.WriteFile(filepath.Join(n.dir, "shop.yaml"), []byte(text.String()), 0o644)
}
