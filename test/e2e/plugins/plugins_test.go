package plugins

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// everyone are all plugins, each with the node that it runs on.
func everyone() []struct {
	Plugin
	node Node
} {
	bridge, routed := sample("cni0", "flannel.1", "veth1", "veth2"), sample("", "", "cali0a1b2c3d4e5", "cali5e4d3c2b1a0")
	weave, cilium := sample("weave", "vethwe-bridge", "vethwepl1", "vethwepl2"), sample("", "cilium_host", "lxc1f2e3d4c5b6a", "lxca6b5c4d3e2f1")
	weave.Flat = true
	return []struct {
		Plugin
		node Node
	}{
		{Flannel(), bridge}, {Calico(), routed}, {Weave(), weave}, {Cilium(), cilium},
		{Portmap(), bridge}, {Portmap(), routed}, {Kubelet(), routed}, {Firewalld(), bridge},
	}
}

// sample is a node with two pods, one of which has a host port and a policy.
func sample(bridge, overlay, one, two string) Node {
	a := netip.MustParseAddr
	return Node{
		Name:  "node1",
		Addrs: []netip.Addr{a("198.18.0.11"), a("fd00:198:18::11")}, Peers: []netip.Addr{a("198.18.0.12"), a("fd00:198:18::12")},
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:244:1::/64")},
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")},
		Routers:      []netip.Addr{a("10.244.1.1"), a("fd00:10:244:1::1")},
		Uplink:       "eth0", Bridge: bridge, Overlay: overlay,
		Pods: []Pod{
			{Name: "shop/frontend", Interface: one, Addrs: []netip.Addr{a("10.244.1.2"), a("fd00:10:244:1::2")}},
			{
				Name: "shop/database", Interface: two, Addrs: []netip.Addr{a("10.244.1.3"), a("fd00:10:244:1::3")},
				HostPorts: []HostPort{{8080, 80}},
			},
		},
		Policies: []Policy{{
			Name: "shop/database", Port: 80,
			To: []netip.Addr{a("10.244.1.3"), a("fd00:10:244:1::3")}, From: []netip.Addr{a("10.244.1.2"), a("fd00:10:244:1::2")},
		}},
	}
}

// fresh makes a namespace with the interfaces of the node.
func fresh(t *testing.T, n Node) *lab.Namespace {
	t.Helper()
	if err := lab.Usable(); err != nil {
		if os.Getenv("NETNS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	ns, err := lab.NewNamespace(n.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Close)
	names := []string{n.Uplink, n.Overlay, n.Bridge}
	for _, p := range n.Pods {
		names = append(names, p.Interface)
	}
	err = ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		for _, name := range names {
			if name == "" {
				continue
			}
			if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
				return fmt.Errorf("make interface %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// forEach runs a test for each plugin on each backend.
func forEach(t *testing.T, test func(t *testing.T, p Plugin, n Node, b iptables.Backend)) {
	for _, b := range []iptables.Backend{iptables.NFT, iptables.Legacy} {
		for i, p := range everyone() {
			t.Run(fmt.Sprintf("%s/%s %d", b, p.Name, i), func(t *testing.T) { test(t, p.Plugin, p.node, b) })
		}
	}
}

// do is one step of a plugin's life.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// saved reads the tables of a family, without what says nothing.
func saved(t *testing.T, ns *lab.Namespace, f ipproto.Family, b iptables.Backend) Saved {
	t.Helper()
	s, err := Save(ns, f, b)
	do(t, err)
	for c, rules := range s {
		if slices.Contains(builtIn, c.Name) && slices.Equal(rules, []string{"policy ACCEPT"}) {
			delete(s, c)
		}
	}
	return s
}

// want is what stands in the tables when nobody but the plugin was there.
func want(t *testing.T, p Plugin, n Node, f ipproto.Family) Saved {
	t.Helper()
	s := Saved{}
	if !slices.Contains(p.Families, f) {
		return s
	}
	r, err := p.Rules(n, f)
	do(t, err)
	for c, rules := range r.Chains {
		s[c] = rules
	}
	for _, h := range r.Hooks {
		if s[h.In] == nil {
			s[h.In] = []string{"policy ACCEPT"}
		}
		s[h.In] = append(s[h.In], h.Rule)
	}
	return s
}

func TestWhatIsLoadedIsWhatIptablesSavePrints(t *testing.T) {
	forEach(t, func(t *testing.T, p Plugin, n Node, b iptables.Backend) {
		ns := fresh(t, n)
		for _, step := range []struct {
			name string
			do   func(*lab.Namespace, iptables.Backend, Node) error
		}{{"load", p.Load}, {"load again", p.Load}, {"reassert", p.Reassert}, {"reassert again", p.Reassert}} {
			do(t, step.do(ns, b, n))
			for _, f := range ipproto.Families {
				if diff := cmp.Diff(want(t, p, n, f), saved(t, ns, f, b)); diff != "" {
					t.Fatalf("%v after %s (-want +got):\n%s", f, step.name, diff)
				}
			}
		}
		if p.alone {
			return // who takes all tables for its own leaves by emptying them
		}
		do(t, p.Unload(ns, b, n))
		for _, f := range ipproto.Families {
			if left := saved(t, ns, f, b); len(left) > 0 {
				t.Errorf("%v: left behind: %v", f, left)
			}
		}
	})
}

// foreign are rules of somebody else, first and last in each built-in chain that matters.
const foreign = "*nat\n-I PREROUTING -s 192.168.7.7/32 -j RETURN\n-I OUTPUT -s 192.168.7.7/32 -j RETURN\n-I POSTROUTING -s 192.168.7.7/32 -j RETURN\nCOMMIT\n" +
	"*filter\n-I INPUT -s 192.168.7.7/32 -j RETURN\n-I FORWARD -s 192.168.7.7/32 -j RETURN\n-I OUTPUT -s 192.168.7.7/32 -j RETURN\n" +
	"-A INPUT -s 192.168.7.8/32 -j RETURN\n-A FORWARD -s 192.168.7.8/32 -j RETURN\n-A OUTPUT -s 192.168.7.8/32 -j RETURN\nCOMMIT\n"

// What each plugin does when it looks again and somebody has put rules in front of its own and behind.
func TestReassert(t *testing.T) {
	const (
		asWas = "leaves them where they are"
		moves = "moves them back to where they belong"
		flush = "removes all others"
	)
	does := map[string]string{
		"Flannel": asWas, "Weave Net": asWas, "portmap": asWas, "kubelet": asWas, "Calico": moves, "Cilium": moves, "firewalld": flush,
	}
	forEach(t, func(t *testing.T, p Plugin, n Node, b iptables.Backend) {
		ns := fresh(t, n)
		do(t, p.Load(ns, b, n))
		k := kernel{ns: ns, family: ipproto.IPv4, backend: b}
		do(t, k.restore(foreign))
		before := saved(t, ns, ipproto.IPv4, b)
		do(t, p.Reassert(ns, b, n))
		after := saved(t, ns, ipproto.IPv4, b)
		got := moves
		switch {
		case cmp.Equal(before, after):
			got = asWas
		case cmp.Equal(after, want(t, p, n, ipproto.IPv4)):
			got = flush
		default:
			atTheEdges(t, p, n, after)
		}
		if got != does[p.Name] {
			t.Errorf("%s %s, want: %s; before\n%v\nafter\n%v", p.Name, got, does[p.Name], before, after)
		}
	})
}

// atTheEdges checks that the hooks are the first rules of their chains, and the others the last.
func atTheEdges(t *testing.T, p Plugin, n Node, s Saved) {
	t.Helper()
	r, err := p.Rules(n, ipproto.IPv4)
	do(t, err)
	for _, c := range r.hooked() {
		rules, last := s[c][1:], 0
		for _, h := range r.Hooks {
			if h.In == c && h.Last {
				last++
			}
		}
		i, j := 0, len(rules)-last
		for _, h := range r.Hooks {
			switch {
			case h.In != c:
			case h.Last && rules[j] == h.Rule:
				j++
			case !h.Last && rules[i] == h.Rule:
				i++
			default:
				t.Errorf("%v: %q is not in its place in\n%s", c, h.Rule, strings.Join(rules, "\n"))
			}
		}
	}
}

func TestReassertBringsBackWhatIsGone(t *testing.T) {
	forEach(t, func(t *testing.T, p Plugin, n Node, b iptables.Backend) {
		ns := fresh(t, n)
		do(t, p.Load(ns, b, n))
		k := kernel{ns: ns, family: ipproto.IPv4, backend: b}
		for _, table := range []string{"filter", "nat", "mangle", "raw"} {
			do(t, k.iptables("-t", table, "-F"))
		}
		do(t, p.Reassert(ns, b, n))
		if diff := cmp.Diff(want(t, p, n, ipproto.IPv4), saved(t, ns, ipproto.IPv4, b)); diff != "" {
			t.Errorf("after all tables were flushed (-want +got):\n%s", diff)
		}
	})
}
