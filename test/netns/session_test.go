package netns

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/proxier/trace"
	"espalier/test/netns/lab"
	"espalier/watcher"
	"espalier/watcher/convert"
	"espalier/watcher/file"
)

// ports are those that something in the tables listens on, or could be led to by mistake.
var ports = []uint16{53, 80, 443, 3001, 3002, 3003, 5353, 8443, 30000}

// labConfig describes the surroundings of the tables.
func labConfig(f ipproto.Family) lab.Config {
	c := lab.Config{Family: f, Ports: ports, Routes: map[lab.Host][]netip.Prefix{}}
	for _, a := range []string{"192.168.0.2", "192.168.1.2", "192.168.99.11"} {
		c.Node = append(c.Node, in(f, netip.MustParseAddr(a)))
	}
	for h, texts := range map[lab.Host][]string{
		lab.Pod:       {"10.0.0.2/32", "10.1.0.0/16"},
		lab.Ext:       {"203.0.113.0/25"},
		lab.Blk:       {"203.0.113.128/25"},
		lab.Endpoints: {"10.180.0.0/16", "10.0.1.0/24"},
	} {
		for _, text := range texts {
			c.Routes[h] = append(c.Routes[h], prefixIn(f, netip.MustParsePrefix(text)))
		}
	}
	return c
}

// newLab builds the surroundings of the tables.
func newLab(t *testing.T, f ipproto.Family) *lab.Lab {
	t.Helper()
	l, err := lab.New(labConfig(f))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// defaults is the configuration of the tables.
func defaults(f ipproto.Family) plan.Config {
	return plan.Config{
		MasqueradeMark:     0x4000,
		Detector:           plan.Detector{PodCIDR: prefixIn(f, netip.MustParsePrefix("10.0.0.0/8"))},
		NodePortAddresses:  []netip.Prefix{f.All()},
		LocalhostNodePorts: true,
		DropInvalid:        true,
	}
}

// apply brings the cluster into the kernel, writing only what is different from before.
func (s *session) apply(t *testing.T, c cluster, config func(*plan.Config)) {
	t.Helper()
	s.config = defaults(s.Family)
	if config != nil {
		config(&s.config)
	}
	state := s.read(t, c)
	s.follow(t, state)
}

// follow brings a state of the cluster into the kernel, with the configuration of the session.
func (s *session) follow(t *testing.T, state watcher.State) {
	t.Helper()
	localnet := "0"
	if s.config.Localhost(s.Family) {
		localnet = "1"
	}
	if err := s.Host(lab.Node).Sysctl("ipv4/conf/all/route_localnet", localnet); err != nil {
		t.Fatal(err)
	}
	s.tracker.Replace(state)
	s.tracker.SetSynced()
	s.sync(t)
	s.compare(t, state)
}

// read reads manifests the way that espalier does.
func (s *session) read(t *testing.T, c cluster) watcher.State {
	t.Helper()
	manifests := c.manifests()
	if s.Family == ipproto.IPv6 {
		manifests = sixText(manifests)
	}
	read, err := file.Read("-", strings.NewReader(manifests), convert.Options{NodeName: nodeName})
	if err != nil {
		t.Fatalf("%v\n%s", err, manifests)
	}
	if len(read.Problems)+len(read.Notices) > 0 || !read.NodeFound {
		t.Fatalf("problems %v, notices %q, own node found: %v, of\n%s", read.Problems, read.Notices, read.NodeFound, manifests)
	}
	addrs, err := s.NodeAddresses()
	if err != nil {
		t.Fatal(err)
	}
	n := read.State.Nodes[s.Family]
	n.Addrs = addrs
	read.State.Nodes[s.Family] = n
	return read.State
}

// compare plans the cluster from nothing and compares it with what the kernel has.
func (s *session) compare(t *testing.T, state watcher.State) {
	t.Helper()
	tracker := watcher.New()
	tracker.Replace(state)
	tracker.SetSynced()
	snapshot, _, _ := tracker.View(s.Family).Snapshot()
	want, problems := plan.Plan(snapshot, s.config)
	if len(problems) > 0 {
		t.Fatalf("plan: %v", problems)
	}
	firewall := ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Firewall}
	if _, planned := want[firewall]; !planned {
		want[firewall] = s.have[firewall]
	}
	if missing := delta.Between(s.have, want).Attach(s.have, ruleset.Jumps(), nil); !missing.Empty() {
		t.Errorf("the kernel has other rules than the plan; still to be written: %v, deleted: %v, jumps: %v",
			missing.Write, missing.Delete, missing.Jumps)
	}
}

// rewrite writes all chains again, as after a start that found rules of unknown origin.
func (s *session) rewrite(t *testing.T) {
	t.Helper()
	owned := maps.Clone(s.have)
	maps.DeleteFunc(owned, func(c ruleset.Chain, _ []ruleset.Rule) bool { return !ruleset.Owned(c) })
	if _, err := (nodeKernel{s}).Apply(context.Background(), delta.Between(nil, owned)); err != nil {
		t.Fatal(err)
	}
}

// iptables runs the command of the family and the backend on the node.
func (s *session) iptables(t *testing.T, args ...string) {
	t.Helper()
	argv := append([]string{s.kernel.Command, "-w", "5"}, args...)
	if _, err := s.Host(lab.Node).Command(nil, argv...); err != nil {
		t.Fatal(err)
	}
}

// dropByDefault gives a built-in chain of the filter table the policy DROP.
func (s *session) dropByDefault(t *testing.T, chain string) {
	t.Helper()
	s.iptables(t, "-P", chain, "DROP")
	s.drops = append(s.drops, ruleset.Chain{Table: ruleset.Filter, Name: chain})
}

// trace asks package trace what becomes of the packet of a row.
func (s *session) trace(t *testing.T, r row) trace.Result {
	t.Helper()
	addrs, err := s.NodeAddresses()
	if err != nil {
		t.Fatal(err)
	}
	p := trace.Packet{Src: r.from.addr, Dst: r.to.addr.Addr(), DstPort: r.to.addr.Port(), Proto: r.to.proto}
	if r.from.host != lab.Node {
		p.In = string(r.from.host)
	}
	result, err := trace.Walk(trace.Attach(s.have), trace.Host{Addrs: addrs, Drops: s.drops}, p)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// owned returns the node's addresses that can be the source of masqueraded packets.
func (s *session) owned(t *testing.T, a netip.Addr) bool {
	t.Helper()
	addrs, err := s.NodeAddresses()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(addrs, a)
}
