package netns

import (
	"fmt"
	"net/netip"
	"time"

	"espalier/proxier/ipproto"
	"espalier/test/netns/lab"
	"espalier/test/recorded"
)

// choice is the last Service of each kind in a recorded cluster: the farther behind, the longer kube-proxy's rules take.
type choice struct {
	family ipproto.Family
	of     map[recorded.Kind]recorded.Service
}

func choose(f ipproto.Family, cluster []recorded.Service) choice {
	c := choice{f, map[recorded.Kind]recorded.Service{}}
	for _, s := range cluster {
		if s.Kind == recorded.ExternalIP && s.Endpoints > 1 {
			continue // its endpoint is to reach itself
		}
		c.of[s.Kind] = s
	}
	return c
}

// endpoints returns those of a Service, or those on the node alone.
func (c choice) endpoints(s recorded.Service, local bool) (all []netip.AddrPort) {
	for e := range s.Endpoints {
		if !local || s.Local(e) {
			all = append(all, netip.AddrPortFrom(s.Endpoint(c.family, e), s.Ports[0].Port))
		}
	}
	return all
}

// streams returns clients of a Service of each kind, on each way on which they can reach it.
func (c choice) streams() []stream {
	var all []stream
	for kind := range recorded.Kinds() {
		if s, there := c.of[kind]; there {
			all = append(all, c.inside(s)...)
			all = append(all, c.outside(s)...)
		}
	}
	return all
}

// inside are clients of the cluster IP.
func (c choice) inside(s recorded.Service) []stream {
	ip := s.ClusterIP(c.family)
	endpoints := c.endpoints(s, s.Kind == recorded.InternalLocal)
	switch s.Kind {
	case recorded.Idle:
		return []stream{c.to("pod to cluster IP", s, pod, ip, reject)}
	case recorded.ExternalIP:
		return []stream{
			c.to("pod to cluster IP", s, pod, ip, outcome{endpoints: endpoints}),
			c.to("node to cluster IP", s, node, ip, outcome{endpoints: endpoints, masq: true}),
		}
	}
	return []stream{c.to("pod to cluster IP", s, pod, ip, outcome{endpoints: endpoints})}
}

// hairpin is an endpoint that reaches itself through its Service.
func (c choice) hairpin() stream {
	s := c.of[recorded.ExternalIP]
	itself := c.endpoints(s, false)
	return c.to("endpoint to itself", s, client{lab.Endpoints, itself[0].Addr()}, s.ClusterIP(c.family), outcome{endpoints: itself, masq: true})
}

// outside are clients of what leads to the Service from outside.
func (c choice) outside(s recorded.Service) (all []stream) {
	vip, every := s.VIP(c.family), c.endpoints(s, false)
	add := func(name string, from client, to netip.Addr, want outcome) {
		all = append(all, c.to(name, s, from, to, want))
	}
	switch s.Kind {
	case recorded.NodePort:
		add("external to node port", external, recorded.NodeIP(c.family), outcome{endpoints: every, masq: true})
	case recorded.ExternalIP:
		add("external to external IP", external, s.ExternalIP(c.family), outcome{endpoints: every, masq: true})
	case recorded.Ranges:
		add("external to VIP", external, vip, outcome{endpoints: every, masq: true})
		add("blocked to VIP", blocked, vip, drop)
	case recorded.Idle:
		add("external to VIP", external, vip, reject)
		add("external to node port", external, recorded.NodeIP(c.family), reject)
	case recorded.NoneLocal:
		add("external to VIP", external, vip, drop)
		add("node to VIP", node, vip, outcome{endpoints: every, masq: true})
	case recorded.LocalEndpoint:
		add("external to VIP", external, vip, outcome{endpoints: c.endpoints(s, true)})
		add("external to node port", external, recorded.NodeIP(c.family), outcome{endpoints: c.endpoints(s, true)})
		add("pod to VIP", pod, vip, outcome{endpoints: every})
		add("node to VIP", node, vip, outcome{endpoints: every, masq: true})
	case recorded.LocalAffinity:
		add("external to VIP", external, vip, outcome{endpoints: c.endpoints(s, true)})
		add("blocked to VIP", blocked, vip, drop)
	}
	return all
}

// to makes a client. With affinity, the endpoint that answers it first must answer it always.
func (c choice) to(name string, s recorded.Service, from client, addr netip.Addr, want outcome) stream {
	port := s.Ports[0].Port
	if addr == recorded.NodeIP(c.family) {
		port = s.Ports[0].NodePort
	}
	from.addr = in(c.family, from.addr)
	st := stream{
		row: row{
			id:   fmt.Sprintf("%s, %s of %s/%s", c.family, name, s.Namespace, s.Name),
			from: from, to: destination{s.Ports[0].Proto, netip.AddrPortFrom(addr, port)}, want: want,
		},
		own: want.endpoints,
	}
	if s.Is(recorded.Affinity) {
		st.fits = firstOf(want.endpoints)
	}
	return st
}

// firstOf admits one of the endpoints: the first that is asked for.
func firstOf(endpoints []netip.AddrPort) func(netip.AddrPort, time.Time) bool {
	var first netip.AddrPort
	return func(at netip.AddrPort, _ time.Time) bool {
		for _, e := range endpoints {
			if e == at && (!first.IsValid() || first == at) {
				first = at
				return true
			}
		}
		return false
	}
}
