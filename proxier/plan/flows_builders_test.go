package plan_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/proxier/trace"
)

const (
	tcp  = ipproto.TCP
	udp  = ipproto.UDP
	sctp = ipproto.SCTP
)

// A cluster is what the tables of this package are about: Services, and the node and the configuration that
// kube-proxy's own tests have (pkg/proxy/iptables/proxier_test.go).
type cluster struct {
	model.Snapshot
	plan.Config
}

// newCluster returns the cluster of the given IPv4 Services.
func newCluster(services ...model.Entry) cluster {
	c := cluster{
		Snapshot: model.Snapshot{
			Family: ipproto.IPv4,
			Node: model.Node{
				Name: "test-node", IP: addr("192.168.0.2"),
				Addrs: addrs("127.0.0.1 192.168.0.2 192.168.1.2 192.168.99.11"),
			},
			Services: map[model.ServiceName]model.Entry{},
		},
		Config: plan.Config{
			MasqueradeMark: 0x4000, Detector: plan.Detector{PodCIDR: prefix("10.0.0.0/8")},
			NodePortAddresses:  []netip.Prefix{prefix("0.0.0.0/0")},
			LocalhostNodePorts: true, DropInvalid: true, CountInvalid: true, CountLocalhost: true,
		},
	}
	for _, e := range services {
		c.Services[e.Service.Name] = e
	}
	return c
}

// with returns the cluster with another configuration.
func (c cluster) with(change func(*plan.Config)) cluster {
	change(&c.Config)
	return c
}

// withoutEndpoints returns the cluster after all its EndpointSlices were deleted.
func (c cluster) withoutEndpoints() cluster {
	services := map[model.ServiceName]model.Entry{}
	for name, e := range c.Services {
		services[name] = model.Entry{Service: e.Service}
	}
	c.Services = services
	return c
}

// inProto returns the cluster with all ports moved to another protocol.
func (c cluster) inProto(p ipproto.Proto) cluster {
	services := map[model.ServiceName]model.Entry{}
	for name, e := range c.Services {
		s := *e.Service
		s.Ports = slices.Clone(s.Ports)
		backends := model.Backends{}
		for i := range s.Ports {
			old := s.Ports[i].PortKey
			s.Ports[i].Proto = p
			if eps, ok := e.Backends[old]; ok {
				backends[s.Ports[i].PortKey] = eps
			}
		}
		services[name] = model.Entry{Service: &s, Backends: backends}
	}
	c.Services = services
	return c
}

// inIPv6 returns the cluster with every address taken over into IPv6 by six. What is IPv6 stays as it is.
func (c cluster) inIPv6() cluster {
	c.Family = ipproto.IPv6
	c.Node.IP, c.Node.Addrs = six(c.Node.IP), each(six, c.Node.Addrs)
	slices.SortFunc(c.Node.Addrs, netip.Addr.Compare)
	c.NodePortAddresses = each(sixPrefix, c.NodePortAddresses)
	if c.Detector.PodCIDR.IsValid() {
		c.Detector.PodCIDR = sixPrefix(c.Detector.PodCIDR)
	}
	services := map[model.ServiceName]model.Entry{}
	for name, e := range c.Services {
		s := *e.Service
		s.ClusterIP, s.ExternalIPs, s.VIPs = six(s.ClusterIP), each(six, s.ExternalIPs), each(six, s.VIPs)
		s.SourceRanges = each(sixPrefix, s.SourceRanges)
		backends := model.Backends{}
		for key, eps := range e.Backends {
			backends[key] = each(func(e model.Endpoint) model.Endpoint {
				e.Addr = netip.AddrPortFrom(six(e.Addr.Addr()), e.Addr.Port())
				return e
			}, eps)
			slices.SortFunc(backends[key], model.CompareEndpoints)
		}
		services[name] = model.Entry{Service: &s, Backends: backends}
	}
	c.Services = services
	return c
}

// six makes fd00:aabb::ccdd of aa.bb.cc.dd, and ::1 of all of 127.0.0.0/8. Order and prefixes are kept.
func six(a netip.Addr) netip.Addr {
	switch {
	case !a.IsValid() || a.Is6():
		return a
	case a.IsLoopback():
		return netip.IPv6Loopback()
	}
	four := a.As4()
	return netip.AddrFrom16([16]byte{0: 0xfd, 2: four[0], 3: four[1], 14: four[2], 15: four[3]})
}

func sixPrefix(p netip.Prefix) netip.Prefix {
	switch {
	case p.Addr().Is6():
		return p
	case p.Bits() == 0:
		return ipproto.IPv6.All()
	case p.Addr().IsLoopback():
		return ipproto.IPv6.Loopback()
	case p.Bits() <= 16:
		return netip.PrefixFrom(six(p.Addr()), 16+p.Bits())
	}
	return netip.PrefixFrom(six(p.Addr()), 96+p.Bits())
}

func each[T any](f func(T) T, in []T) []T {
	out := make([]T, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addrs(s string) []netip.Addr {
	var all []netip.Addr
	for f := range strings.FieldsSeq(s) {
		all = append(all, addr(f))
	}
	return all
}

func prefixes(s string) []netip.Prefix {
	var all []netip.Prefix
	for f := range strings.FieldsSeq(s) {
		all = append(all, prefix(f))
	}
	return all
}

// service returns a Service with the ports that the options add.
func service(name, clusterIP string, options ...func(*model.Entry)) model.Entry {
	namespace, name, _ := strings.Cut(name, "/")
	e := model.Entry{
		Service:  &model.Service{Name: model.ServiceName{Namespace: namespace, Name: name}, ClusterIP: addr(clusterIP)},
		Backends: model.Backends{},
	}
	for _, o := range options {
		o(&e)
	}
	return e
}

// port adds a port, with endpoints as the function endpoints reads them.
func port(name string, p ipproto.Proto, number, nodePort, targetPort uint16, eps string) func(*model.Entry) {
	return func(e *model.Entry) {
		sp := model.ServicePort{PortKey: model.PortKey{Name: name, Proto: p}, Port: number, NodePort: nodePort}
		e.Service.Ports = append(e.Service.Ports, sp)
		if eps != "" {
			e.Backends[sp.PortKey] = endpoints(eps, targetPort)
		}
	}
}

// port80 adds the port p80, 80/TCP to 80.
func port80(nodePort uint16, eps string) func(*model.Entry) {
	return port("p80", tcp, 80, nodePort, 80, eps)
}

func externalIPs(s string) func(*model.Entry) {
	return func(e *model.Entry) { e.Service.ExternalIPs = addrs(s) }
}

func vips(s string) func(*model.Entry) {
	return func(e *model.Entry) { e.Service.VIPs = addrs(s) }
}

func sourceRanges(s string) func(*model.Entry) {
	return func(e *model.Entry) { e.Service.SourceRanges = prefixes(s) }
}

func affinity(seconds int) func(*model.Entry) {
	return func(e *model.Entry) { e.Service.Affinity = time.Duration(seconds) * time.Second }
}

func healthCheck(port uint16) func(*model.Entry) {
	return func(e *model.Entry) { e.Service.HealthCheckNodePort = port }
}

func internalLocal(e *model.Entry) { e.Service.InternalLocal = true }
func externalLocal(e *model.Entry) { e.Service.ExternalLocal = true }

// endpoints reads "10.0.0.1 Rl z=A z=B n=node-1, 10.0.0.2 D": an address; R ready, D draining (serving and
// terminating), X terminating and not serving, - serving but not ready; l on this node; zone and node hints.
func endpoints(s string, port uint16) []model.Endpoint {
	var all []model.Endpoint
	for one := range strings.SplitSeq(s, ",") {
		fields := strings.Fields(one)
		e := model.Endpoint{Addr: netip.AddrPortFrom(addr(fields[0]), port)}
		var zones, nodes []string
		for _, f := range fields[1:] {
			switch {
			case strings.HasPrefix(f, "z="):
				zones = append(zones, f[2:])
			case strings.HasPrefix(f, "n="):
				nodes = append(nodes, f[2:])
			default:
				e.Local = strings.HasSuffix(f, "l")
				switch f[0] {
				case 'R':
					e.Ready, e.Serving = true, true
				case 'D':
					e.Serving, e.Terminating = true, true
				case 'X':
					e.Terminating = true
				case '-':
					e.Serving = true
				default:
					panic("unknown state of endpoint " + one)
				}
			}
		}
		e.ZoneHints, e.NodeHints = model.NewNames(zones...), model.NewNames(nodes...)
		all = append(all, e)
	}
	slices.SortFunc(all, model.CompareEndpoints)
	return all
}

// The sources of kube-proxy's tables. Pods and clients come in through an interface, each through its own.
const (
	pod  = "10.0.0.2"
	ext  = "203.0.113.2"
	blk  = "203.0.113.130" // outside of 203.0.113.0/25
	node = "192.168.0.2"
	lo   = "127.0.0.1"
)

// packet is a first packet; addresses of the node have their packets from processes of the node.
func (c cluster) packet(src, dst netip.Addr, port uint16, p ipproto.Proto) trace.Packet {
	pods := prefix("10.0.0.0/8")
	in := "eth0"
	switch {
	case src.IsLoopback() || slices.Contains(c.Node.Addrs, src):
		in = ""
	case pods.Contains(src) || sixPrefix(pods).Contains(src):
		in = "cali0"
	}
	return trace.Packet{Src: src, Dst: dst, DstPort: port, Proto: p, In: in}
}

// rules plans the cluster and fails the test if there is anything wrong with the plan itself.
func (c cluster) rules(t *testing.T) ruleset.Ruleset {
	t.Helper()
	rs, problems := plan.Plan(c.Snapshot, c.Config)
	for _, p := range problems {
		t.Errorf("problem: %v", p)
	}
	sound(t, rs, c.Family)
	for chain, rules := range rs {
		if c.NoHairpinMatch && slices.ContainsFunc(rules, func(r ruleset.Rule) bool { return r.Hairpin }) {
			t.Errorf("%s asks for xt_bpf, which the kernel does not have", chain)
		}
	}
	return trace.Attach(rs)
}

// sound checks what holds for every plan: the kernel can load it, and no chain is long.
func sound(t *testing.T, rs ruleset.Ruleset, f ipproto.Family) {
	t.Helper()
	for c, rules := range rs {
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		if !ruleset.Owned(c) {
			t.Errorf("%s is not ours to write", c)
		}
		if len(rules) > plan.MaxChain {
			t.Errorf("%s has %d rules, want at most %d", c, len(rules), plan.MaxChain)
		}
		for i, r := range rules {
			if err := r.Validate(f); err != nil {
				t.Errorf("%s rule %d %q: %v", c, i+1, r.Text(f), err)
			}
			if to, ok := r.JumpsTo(); ok {
				if _, exists := rs[ruleset.Chain{Table: c.Table, Name: to}]; !exists {
					t.Errorf("%s rule %d jumps to %s, which is not in the plan", c, i+1, to)
				}
			}
		}
	}
}

// flow returns what becomes of the packet, as text: endpoints with "masq" behind those that see the node's
// address, in order; or the verdict. It fails if several endpoints are not equally likely.
func (c cluster) flow(t *testing.T, rs ruleset.Ruleset, p trace.Packet) string {
	t.Helper()
	r, err := trace.Walk(rs, trace.Host{Addrs: c.Node.Addrs}, p)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, o := range r.Outcomes {
		text := o.Verdict.String()
		switch o.Verdict {
		case trace.None:
			text = "-"
		case trace.DNAT:
			text = o.To.String()
		}
		if o.Masquerade {
			text += " masq"
		}
		texts = append(texts, text)
		if equal := 1 / float64(len(r.Outcomes)); o.Probability < equal-1e-9 || o.Probability > equal+1e-9 {
			t.Errorf("%v: want all of %d equally likely", o, len(r.Outcomes))
		}
	}
	return strings.Join(texts, ", ")
}

// explain returns all paths of the packet, for a test that failed.
func (c cluster) explain(rs ruleset.Ruleset, p trace.Packet) string {
	r, err := trace.Walk(rs, trace.Host{Addrs: c.Node.Addrs}, p)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for i, o := range r.Outcomes {
		if i == 3 {
			fmt.Fprintf(&b, "… and %d more\n", len(r.Outcomes)-i)
			break
		}
		fmt.Fprintf(&b, "%v\n%s", o, o.Paths[0].Text(c.Family))
	}
	return b.String()
}
