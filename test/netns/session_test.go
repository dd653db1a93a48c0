package netns

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/proxier/trace"
	"espalier/test/netns/lab"
	"espalier/watcher"
	"espalier/watcher/convert"
	"espalier/watcher/file"
)

// session is a lab with the rules that were written into it so far.
type session struct {
	*lab.Lab
	backend iptables.Backend
	config  plan.Config
	have    ruleset.Ruleset
	drops   []ruleset.Chain // built-in chains with policy DROP
}

// ports are those that something in the tables listens on, or could be led to by mistake.
var ports = []uint16{53, 80, 443, 3001, 3002, 3003, 5353, 8443, 30000}

// newLab builds the surroundings of the tables.
func newLab(t *testing.T, f ipproto.Family) *lab.Lab {
	t.Helper()
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
	l, err := lab.New(c)
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
	localnet := "0"
	if s.config.Localhost(s.Family) {
		localnet = "1"
	}
	if err := s.Host(lab.Node).Sysctl("ipv4/conf/all/route_localnet", localnet); err != nil {
		t.Fatal(err)
	}
	s.write(t, s.plan(t, c))
}

// plan reads manifests the way that espalier does.
func (s *session) plan(t *testing.T, c cluster) ruleset.Ruleset {
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
	tracker := watcher.New()
	tracker.Replace(read.State)
	tracker.SetSynced()
	snapshot, _, _ := tracker.View(s.Family).Snapshot()
	rules, problems := plan.Plan(snapshot, s.config)
	if len(problems) > 0 {
		t.Fatalf("plan: %v", problems)
	}
	return rules
}

// write brings the kernel from what it has to what it should have.
func (s *session) write(t *testing.T, want ruleset.Ruleset) {
	t.Helper()
	firewall := ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Firewall}
	if _, planned := want[firewall]; !planned {
		want[firewall] = s.have[firewall]
	}
	batch := delta.Between(s.have, want).Attach(s.have, ruleset.Jumps())
	s.restore(t, batch)
	s.have = delta.Apply(s.have, batch)
	saved := s.readBack(t)
	if again := delta.Between(saved, want).Attach(saved, ruleset.Jumps()); !again.Empty() {
		t.Errorf("the kernel has other rules than were written; to be written again: %v, deleted: %v, jumps: %v",
			again.Write, again.Delete, again.Jumps)
	}
}

// readBack returns all rules that the node has.
func (s *session) readBack(t *testing.T) ruleset.Ruleset {
	t.Helper()
	text, err := s.Host(lab.Node).Command(nil, s.tool("-save"))
	if err != nil {
		t.Fatal(err)
	}
	saved, err := ruleset.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return saved.Rules
}

// rewrite writes all chains again, as after a start that found rules of unknown origin.
func (s *session) rewrite(t *testing.T) {
	t.Helper()
	owned := maps.Clone(s.have)
	maps.DeleteFunc(owned, func(c ruleset.Chain, _ []ruleset.Rule) bool { return !ruleset.Owned(c) })
	s.restore(t, delta.Between(nil, owned))
}

func (s *session) restore(t *testing.T, batch delta.Batch) {
	t.Helper()
	text, err := batch.Text(s.Family, s.backend.Strategy())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Host(lab.Node).Command(bytes.NewReader(text), s.tool("-restore"), "-w", "5", "--noflush"); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// iptables runs the command of the family and the backend on the node.
func (s *session) iptables(t *testing.T, args ...string) {
	t.Helper()
	argv := append([]string{s.tool(""), "-w", "5"}, args...)
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

func (s *session) tool(suffix string) string {
	name := "iptables"
	if s.Family == ipproto.IPv6 {
		name = "ip6tables"
	}
	return name + "-" + s.backend.String() + suffix
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
