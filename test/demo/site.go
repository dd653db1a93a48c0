package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// The addresses of the site. All exist in namespaces only.
var (
	nodeAddr   = netip.MustParsePrefix("192.168.40.11/24")
	clientAddr = netip.MustParsePrefix("192.168.40.99/24")
	podRange   = netip.MustParsePrefix("10.244.0.0/24")
	// gateway is the node's address towards each of its pods.
	gateway = netip.MustParsePrefix("10.244.0.1/32")
	// router is where the node's default route points. Nobody is there, but without a default route the
	// node itself would refuse a cluster IP before any rule can translate it.
	router = netip.MustParseAddr("192.168.40.1")
)

const (
	nodeName    = "node-1"
	clusterCIDR = "10.244.0.0/16"
)

// A site is what stands before the first pod comes: a node, and a client on the same network that is not
// part of the cluster.
type site struct {
	node, client *machine
}

// buildSite makes both machines and the network between them. After an error, close what was returned.
func buildSite(ctx context.Context) (*site, error) {
	s := &site{}
	var err error
	if s.node, err = startMachine(nodeName, nodeAddr.Addr(), again("machine", "forward")); err != nil {
		return s, err
	}
	if s.client, err = startMachine("client", clientAddr.Addr(), again("machine")); err != nil {
		return s, err
	}
	if err := cable(s.node, "eth0", s.client, "eth0"); err != nil {
		return s, err
	}
	for _, m := range []*machine{s.node, s.client} {
		if err := m.plug("lo", netip.Prefix{}); err != nil {
			return s, err
		}
	}
	if err := s.node.plug("eth0", nodeAddr, defaultRoute(router)); err != nil {
		return s, err
	}
	if err := s.client.plug("eth0", clientAddr); err != nil {
		return s, err
	}
	if err := s.node.powerOn(ctx); err != nil {
		return s, err
	}
	return s, s.client.powerOn(ctx)
}

// attach connects a pod with the node, as a point-to-point CNI plugin does: an address of its own, and
// everything else through the node.
func (s *site) attach(pod *machine, port string) error {
	if err := cable(s.node, port, pod, "eth0"); err != nil {
		return err
	}
	single := netip.PrefixFrom(pod.addr, pod.addr.BitLen())
	toPod := netlink.Route{Dst: ipNet(single), Scope: netlink.SCOPE_LINK}
	if err := s.node.plug(port, gateway, toPod); err != nil {
		return err
	}
	if err := pod.plug("lo", netip.Prefix{}); err != nil {
		return err
	}
	toNode := netlink.Route{Dst: ipNet(gateway), Scope: netlink.SCOPE_LINK}
	if err := pod.plug("eth0", single, toNode, defaultRoute(gateway.Addr())); err != nil {
		return fmt.Errorf("attach pod: %w", err)
	}
	return nil
}

func defaultRoute(via netip.Addr) netlink.Route {
	return netlink.Route{Dst: ipNet(netip.MustParsePrefix("0.0.0.0/0")), Gw: via.AsSlice()}
}

func (s *site) close() {
	for _, m := range []*machine{s.client, s.node} {
		if m != nil {
			m.powerOff()
		}
	}
}
