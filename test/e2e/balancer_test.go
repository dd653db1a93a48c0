package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// vipsGiven counts the pairs of addresses that tests have got.
var vipsGiven atomic.Int32

// vips returns a new address of each family for which the host outside has a route to a node: what a load balancer does
// that announces its addresses from one node.
func (g *ground) vips(node int) []netip.Addr {
	g.t.Helper()
	n := vipsGiven.Add(1)
	vips := []netip.Addr{
		netip.MustParseAddr(fmt.Sprintf("198.18.100.%d", n)),
		netip.MustParseAddr(fmt.Sprintf("fd00:198:18:100::%x", n)),
	}
	g.route(node, vips...)
	return vips
}

// route leads addresses, seen from the host outside, to a node. The route goes with the test.
func (g *ground) route(node int, vips ...netip.Addr) {
	g.t.Helper()
	links := g.c.Outside().Links()
	for i, ip := range vips {
		gateway := g.c.Nodes[node].Addrs[i]
		r := &netlink.Route{Dst: netlink.NewIPNet(ip.AsSlice()), Gw: gateway.AsSlice()}
		if err := links.RouteReplace(r); err != nil {
			g.t.Fatalf("route %s by %s: %v", ip, gateway, err)
		}
		g.t.Cleanup(func() { _ = links.RouteDel(&netlink.Route{Dst: r.Dst}) })
	}
}

// balance does for a Service of type LoadBalancer what a cloud does: gives it an address of each family, which lead to a
// node.
func (s *service) balance(node int) []netip.Addr {
	s.g.t.Helper()
	vips := s.g.vips(node)
	s.ingress(vips...)
	return vips
}

// ingress says in the Service's status which addresses it has.
func (s *service) ingress(vips ...netip.Addr) {
	s.g.t.Helper()
	ingress := []corev1.LoadBalancerIngress{}
	for _, ip := range vips {
		ingress = append(ingress, corev1.LoadBalancerIngress{IP: ip.String()})
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": corev1.LoadBalancerStatus{Ingress: ingress}}})
	if err != nil {
		s.g.t.Fatal(err)
	}
	s.g.becomes("Service "+s.Name+" has an address", func(ctx context.Context) error {
		changed, err := s.g.c.Client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		if err == nil {
			s.Service = changed
		}
		return err
	})
}
