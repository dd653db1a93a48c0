package plan_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
	"espalier/proxier/trace"
)

// An oracle says where a packet goes by the promises of Services alone, without rules: it is written as the
// documentation reads, looks at every Service for every packet, and shares no code with what it judges.
type oracle struct {
	cluster
	// forwardDrop: the policy of FORWARD is DROP.
	forwardDrop bool
	ports       []oraclePort
}

// outcome is one thing that can become of a packet.
type outcome struct {
	verdict trace.Verdict
	to      netip.AddrPort
	masq    bool
	// remembers is the list that holds the source afterwards, for affinity.
	remembers string
}

// expectation is the probability of every outcome.
type expectation map[outcome]float64

func surely(v trace.Verdict) expectation { return expectation{{verdict: v}: 1} }

// oraclePort is a port of a Service with the endpoints that its policies choose.
type oraclePort struct {
	*model.Service
	model.ServicePort
	cluster, local []model.Endpoint
	any            bool
}

func newOracle(c cluster, forwardDrop bool) oracle {
	o := oracle{cluster: c, forwardDrop: forwardDrop}
	for _, name := range slices.SortedFunc(maps.Keys(c.Services), model.ServiceName.Compare) {
		e := c.Services[name]
		for _, p := range e.Service.Ports {
			o.ports = append(o.ports, o.choose(e.Service, p, e.Backends[p.PortKey]))
		}
	}
	return o
}

// choose selects endpoints by KEP-1669 (terminating endpoints), KEP-2433 and KEP-3015 (topology hints).
func (o oracle) choose(s *model.Service, p model.ServicePort, all []model.Endpoint) oraclePort {
	op := oraclePort{Service: s, ServicePort: p}
	var ready, draining []model.Endpoint
	for _, e := range all {
		if e.Ready {
			ready = append(ready, e)
		} else if e.Serving && e.Terminating {
			draining = append(draining, e)
		}
	}
	// Whatever the policy, nothing usable anywhere is different from nothing usable here.
	op.any = len(ready)+len(draining) > 0

	op.cluster = o.hinted(ready)
	if len(ready) == 0 {
		op.cluster = draining
	}
	for _, e := range ready {
		if e.Local {
			op.local = append(op.local, e)
		}
	}
	if len(op.local) == 0 {
		for _, e := range draining {
			if e.Local {
				op.local = append(op.local, e)
			}
		}
	}
	return op
}

func (o oracle) hinted(ready []model.Endpoint) []model.Endpoint {
	for _, mode := range []struct {
		here  string
		hints func(model.Endpoint) model.Names
	}{
		{o.Node.Name, func(e model.Endpoint) model.Names { return e.NodeHints }},
		{o.Node.Zone, func(e model.Endpoint) model.Names { return e.ZoneHints }},
	} {
		var here []model.Endpoint
		all := true
		for _, e := range ready {
			if mode.hints(e) == "" {
				all = false
			}
			if mode.here != "" && slices.Contains(strings.Split(string(mode.hints(e)), ","), mode.here) {
				here = append(here, e)
			}
		}
		if all && len(here) > 0 {
			return here
		}
	}
	return ready
}

// expect returns where a new packet goes.
func (o oracle) expect(p trace.Packet) expectation {
	for _, op := range o.ports {
		if op.Proto != p.Proto {
			continue
		}
		if op.Port == p.DstPort {
			if e := o.byAddress(op, p); e != nil {
				return e
			}
		}
	}
	if o.nodePortAddress(p.Dst) {
		for _, op := range o.ports {
			if op.Proto == p.Proto && op.NodePort == p.DstPort {
				if e := o.external(op, p); e != nil {
					return e
				}
			}
		}
	}
	return surely(o.filtered(p))
}

// byAddress returns where a packet to the cluster IP, an external IP or a VIP goes; nil: the port does not take it.
func (o oracle) byAddress(op oraclePort, p trace.Packet) expectation {
	if p.Dst == op.ClusterIP {
		masq := o.MasqueradeAll || o.Detector.Present() && !o.fromPod(p)
		set := op.cluster
		if op.InternalLocal {
			set = op.local
		}
		return o.balance(op, set, p, masq)
	}
	if slices.Contains(op.ExternalIPs, p.Dst) && !o.NoExternalIPs {
		return o.external(op, p)
	}
	if slices.Contains(op.VIPs, p.Dst) && o.allowed(op, p) {
		return o.external(op, p)
	}
	return nil
}

// allowed reports whether the source may use the VIPs of the port.
func (o oracle) allowed(op oraclePort, p trace.Packet) bool {
	if len(op.SourceRanges) == 0 {
		return true
	}
	within := func(a netip.Addr) bool {
		return slices.ContainsFunc(op.SourceRanges, func(r netip.Prefix) bool { return r.Contains(a) })
	}
	return within(p.Src) || slices.Contains(op.VIPs, p.Src) && within(o.Node.IP)
}

// external returns where a packet for an external destination of the port goes; nil: nowhere.
func (o oracle) external(op oraclePort, p trace.Packet) expectation {
	switch {
	case !op.ExternalLocal:
		return o.balance(op, op.cluster, p, true)
	case o.fromPod(p):
		return o.balance(op, op.cluster, p, false)
	case o.isLocal(p.Src):
		return o.balance(op, op.cluster, p, true)
	}
	return o.balance(op, op.local, p, false)
}

// fromPod reports whether the detector takes the packet for one of a pod of this node.
func (o oracle) fromPod(p trace.Packet) bool {
	d := o.Detector
	if d.PodCIDR.IsValid() {
		return d.PodCIDR.Contains(p.Src)
	}
	if name, ok := strings.CutSuffix(d.Interface, "+"); ok {
		return p.In != "" && strings.HasPrefix(p.In, name)
	}
	return p.In != "" && p.In == d.Interface
}

func (o oracle) isLocal(a netip.Addr) bool { return a.IsLoopback() || slices.Contains(o.Node.Addrs, a) }

// nodePortAddress reports whether node ports answer on the address.
func (o oracle) nodePortAddress(a netip.Addr) bool {
	if !o.isLocal(a) || a.IsLoopback() && !o.localhost() {
		return false
	}
	for _, p := range o.NodePortAddresses {
		if p.Bits() == 0 {
			return true
		}
	}
	return slices.Contains(o.Node.Addrs, a) &&
		slices.ContainsFunc(o.NodePortAddresses, func(p netip.Prefix) bool { return p.Contains(a) })
}

// localhost reports whether node ports answer on 127.0.0.0/8.
func (o oracle) localhost() bool {
	loopback := prefix("127.0.0.0/8")
	return o.LocalhostNodePorts && o.Family == ipproto.IPv4 && slices.ContainsFunc(o.NodePortAddresses, func(p netip.Prefix) bool {
		return p.Contains(addr("127.0.0.0")) || loopback.Contains(p.Addr())
	})
}

// balance spreads the packet evenly over the set, or sends it where affinity says; nil if the set is empty.
func (o oracle) balance(op oraclePort, set []model.Endpoint, p trace.Packet, marked bool) expectation {
	if len(set) == 0 {
		return nil
	}
	if op.Affinity > 0 {
		for _, e := range set {
			if p.Recent[affinityList(op, e)] {
				set = []model.Endpoint{e}
				break
			}
		}
	}
	result := expectation{}
	for _, e := range set {
		to := e.Addr.Addr()
		one := outcome{verdict: trace.DNAT, to: e.Addr, masq: marked || p.Src == to} // who calls itself would answer itself directly
		switch {
		case p.In == "":
		case o.isLocal(to): // it never leaves the node, so nothing rewrites its source
			one.masq = false
		case o.forwardDrop && !one.masq: // for the network plugin to accept
			one.verdict, one.to = trace.Drop, netip.AddrPort{}
		}
		if op.Affinity > 0 {
			one.remembers = affinityList(op, e)
		}
		result[one] += 1 / float64(len(set))
	}
	return result
}

// affinityList is the kernel's list of the clients of an endpoint, by kube-proxy's name.
func affinityList(op oraclePort, e model.Endpoint) string {
	return ruleset.PrefixEndpoint + ruleset.Hash(op.PortName(op.ServicePort), op.Proto.String(), e.Addr.String())
}

// filtered is what the filter table does to a packet that was not translated.
func (o oracle) filtered(p trace.Packet) trace.Verdict {
	if p.In == "" {
		if v := o.first(p, o.martian, o.refused, o.internal); v != trace.None || !o.isLocal(p.Dst) {
			return v
		}
	}
	if o.isLocal(p.Dst) {
		return o.first(p, o.martian, o.refused, o.healthCheck, o.outside)
	}
	v := o.first(p, o.refused, o.internal, o.outside)
	if v == trace.None && o.forwardDrop {
		return trace.Drop
	}
	return v
}

func (o oracle) first(p trace.Packet, chains ...func(trace.Packet) trace.Verdict) trace.Verdict {
	for _, chain := range chains {
		if v := chain(p); v != trace.None {
			return v
		}
	}
	return trace.None
}

// martian drops what neighbours send to loopback.
func (o oracle) martian(p trace.Packet) trace.Verdict {
	if o.localhost() && p.Dst.IsLoopback() && !p.Src.IsLoopback() {
		return trace.Drop
	}
	return trace.None
}

// refused drops what source ranges did not let through.
func (o oracle) refused(p trace.Packet) trace.Verdict {
	for _, op := range o.ports {
		if op.any && len(op.SourceRanges) > 0 && op.Proto == p.Proto && op.Port == p.DstPort && slices.Contains(op.VIPs, p.Dst) {
			return trace.Drop
		}
	}
	return trace.None
}

// internal is the verdict for cluster IPs that cannot be served.
func (o oracle) internal(p trace.Packet) trace.Verdict {
	for _, op := range o.ports {
		if op.Proto == p.Proto && op.Port == p.DstPort && op.ClusterIP == p.Dst {
			return op.verdict(op.InternalLocal)
		}
	}
	return trace.None
}

// outside is the verdict for external destinations that cannot be served. Those of node ports hold on every
// address of the node.
func (o oracle) outside(p trace.Packet) trace.Verdict {
	for _, op := range o.ports {
		byAddress := op.Port == p.DstPort &&
			(slices.Contains(op.ExternalIPs, p.Dst) && !o.NoExternalIPs || slices.Contains(op.VIPs, p.Dst))
		if op.Proto == p.Proto && (byAddress || op.NodePort == p.DstPort && o.isLocal(p.Dst)) {
			return op.verdict(op.ExternalLocal)
		}
	}
	return trace.None
}

func (op oraclePort) verdict(local bool) trace.Verdict {
	switch {
	case !op.any:
		return trace.Reject
	case local && len(op.local) == 0:
		return trace.Drop
	}
	return trace.None
}

func (o oracle) healthCheck(p trace.Packet) trace.Verdict {
	for _, op := range o.ports {
		if p.Proto == tcp && op.HealthCheckNodePort != 0 && op.HealthCheckNodePort == p.DstPort {
			return trace.Accept
		}
	}
	return trace.None
}
