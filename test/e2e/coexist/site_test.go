package coexist

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/ruleset"
	"espalier/test/e2e/plugins"
	"espalier/test/e2e/process"
	"espalier/test/e2e/wire"
	"espalier/test/netns/lab"
)

// stack is what runs on a node beside the proxy.
type stack struct {
	name    string
	mode    wire.Mode
	plugins []plugins.Plugin // in the order in which they start
	bridge  string           // that pods are on, if they are
	overlay string           // the interface to other nodes' pods, if that is not the uplink
	only4   bool             // the network plugin knows IPv4 only
	policy  bool             // it enforces NetworkPolicies
	flushes bool             // something in it empties all tables now and then
}

// stacks are the network plugins, each with what is beside it on every node of a cluster.
func stacks() []stack {
	kubelet, portmap := plugins.Kubelet(), plugins.Portmap()
	return []stack{
		{name: "Flannel", mode: wire.Overlay, bridge: "cni0", overlay: "flannel.1", plugins: []plugins.Plugin{kubelet, portmap, plugins.Flannel()}},
		{name: "Calico", mode: wire.Routed, policy: true, plugins: []plugins.Plugin{kubelet, portmap, plugins.Calico()}},
		{name: "Weave Net", mode: wire.Flat, bridge: "weave", overlay: "vethwe-bridge", only4: true, policy: true, plugins: []plugins.Plugin{kubelet, portmap, plugins.Weave()}},
		{name: "Cilium", mode: wire.Endpoint, overlay: "cilium_host", plugins: []plugins.Plugin{kubelet, portmap, plugins.Cilium()}},
		{name: "Flannel and firewalld", mode: wire.Overlay, bridge: "cni0", overlay: "flannel.1", flushes: true, plugins: []plugins.Plugin{plugins.Firewalld(), kubelet, portmap, plugins.Flannel()}},
	}
}

func (s stack) families() []ipproto.Family {
	if s.only4 {
		return []ipproto.Family{ipproto.IPv4}
	}
	return ipproto.Families[:]
}

// neighbours are two nodes with a stack each, pods, and a host outside, and what runs on them.
type neighbours struct {
	stack
	backend iptables.Backend
	wire    *wire.Wire
	nodes   []*neighbour
	pods    map[string]*wire.Pod
	home    map[string]string // the node of each pod
	dir     string            // of manifests
	guarded bool              // see guards
}

// neighbour is one of the nodes, and a twin of it that has the same interfaces and the same plugins, which do the same
// there; but no proxy runs on it.
type neighbour struct {
	*wire.Node
	config plugins.Node
	twin   *lab.Namespace
	proxy  *process.Process
}

var clusterCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")}

// podsOf says which pods are on which node.
var podsOf = [][]string{{"frontend", "stranger", "web-near", "db-near"}, {"frontend-far", "web-far", "db-far"}}

// newNeighbours builds them, without any rule but that nothing is forwarded by default, as Docker leaves it.
func newNeighbours(t *testing.T, s stack, b iptables.Backend) *neighbours {
	t.Helper()
	control, err := lab.NewNamespace("control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Close)
	n := &neighbours{stack: s, backend: b, pods: map[string]*wire.Pod{}, home: map[string]string{}, dir: t.TempDir()}
	n.wire, err = wire.New(wire.Config{Control: control, Mode: s.mode, Nodes: len(podsOf), ClusterCIDRs: clusterCIDRs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.wire.Close)
	for i, host := range n.wire.Nodes() {
		if err := n.add(i+1, host); err != nil {
			t.Fatal(err)
		}
	}
	n.configure()
	for _, node := range n.nodes {
		if err := node.makeTwin(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(node.twin.Close)
		for _, f := range ipproto.Families {
			n.iptables(t, node.Namespace, f, "-P", "FORWARD", "DROP")
			n.iptables(t, node.twin, f, "-P", "FORWARD", "DROP")
		}
	}
	if err := n.routeVIPs(); err != nil {
		t.Fatal(err)
	}
	return n
}

// add gives a node its ranges and pods.
func (n *neighbours) add(number int, host *wire.Node) error {
	cidrs := []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", number)), netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", number)),
	}
	if err := host.SetPodCIDRs(cidrs); err != nil {
		return err
	}
	node := &neighbour{Node: host}
	node.config = plugins.Node{
		Name: host.Name, Addrs: host.Addrs, PodCIDRs: cidrs, ClusterCIDRs: clusterCIDRs,
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")},
		Lock:         filepath.Join(n.dir, host.Name+".lock"),
		Uplink:       "eth0", Overlay: n.overlay, Bridge: n.bridge, Flat: n.mode == wire.Flat,
	}
	for _, c := range cidrs {
		node.config.Routers = append(node.config.Routers, c.Addr().Next())
	}
	for _, name := range podsOf[number-1] {
		pod, err := host.AddPod(name)
		if err != nil {
			return err
		}
		n.pods[name], n.home[name] = pod, host.Name
		config := plugins.Pod{Name: "shop/" + name, Interface: pod.Link(), Addrs: pod.Addrs}
		if name == "web-near" {
			config.HostPorts = []plugins.HostPort{{Host: hostPort, Container: podPort}}
		}
		node.config.Pods = append(node.config.Pods, config)
	}
	n.nodes = append(n.nodes, node)
	return nil
}

// configure tells each node's plugins of the other node, and of the policy: only frontends reach databases.
func (n *neighbours) configure() {
	policy := plugins.Policy{Name: "shop/database", Port: podPort}
	for name, pod := range n.pods {
		switch strings.SplitN(name, "-", 2)[0] {
		case "db":
			policy.To = append(policy.To, pod.Addrs...)
		case "frontend":
			policy.From = append(policy.From, pod.Addrs...)
		}
	}
	// The order of a map must not show in the names of rules.
	slices.SortFunc(policy.To, netip.Addr.Compare)
	slices.SortFunc(policy.From, netip.Addr.Compare)
	for _, node := range n.nodes {
		node.config.Policies = []plugins.Policy{policy}
		for _, other := range n.nodes {
			if other != node {
				node.config.Peers = append(node.config.Peers, other.Addrs...)
				node.config.Others = append(node.config.Others, other.config.Pods...)
			}
		}
	}
}

// makeTwin makes interfaces of the same names as the node's.
func (n *neighbour) makeTwin() (err error) {
	if n.twin, err = lab.NewNamespace(n.Name + "'s twin"); err != nil {
		return err
	}
	if err := n.twin.Prepare(true); err != nil {
		return err
	}
	links, err := n.Links().LinkList()
	if err != nil {
		return err
	}
	for _, link := range links {
		if name := link.Attrs().Name; name != "lo" {
			if err := n.twin.Links().LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
				return fmt.Errorf("make %s of %s: %w", name, n.twin.Name, err)
			}
		}
	}
	return nil
}

// twinConfig is the configuration of the plugins on the twin.
func (n *neighbour) twinConfig() plugins.Node {
	c := n.config
	c.Lock += "-of-the-twin"
	return c
}

// dump writes the proxy's rules into the twin of a node, once. Nobody looks after them, as nobody would for a long time
// with kube-proxy: its jumps are put at the top when they are missing, and stay where they are.
func (n *neighbours) dump(t *testing.T, node *neighbour) {
	t.Helper()
	for _, f := range ipproto.Families {
		out, err := n.command(node, "dump", "--ip-family", f.String())
		if err != nil {
			t.Fatal(err)
		}
		saved, err := plugins.Save(node.twin, f, n.backend)
		if err != nil {
			t.Fatal(err)
		}
		var input strings.Builder
		for line := range strings.Lines(string(out)) {
			hook, isFirewall := strings.CutSuffix(strings.TrimSpace(line), " -j "+ruleset.Firewall)
			from := plugins.Chain{Table: "filter", Name: strings.TrimPrefix(hook, "-I ")}
			if isFirewall && slices.Contains(saved[from], "-j "+ruleset.Firewall) {
				continue // the kubelet was there
			}
			input.WriteString(line)
		}
		argv := []string{"env", "XTABLES_LOCKFILE=" + node.twinConfig().Lock, n.tool(f) + "-restore", "--noflush"}
		if _, err := node.twin.Command(strings.NewReader(input.String()), argv...); err != nil {
			t.Fatal(err)
		}
	}
}

// tool is the name of iptables for a family and the backend.
func (n *neighbours) tool(f ipproto.Family) string {
	return map[ipproto.Family]string{ipproto.IPv4: "iptables-", ipproto.IPv6: "ip6tables-"}[f] + n.backend.String()
}

// iptables runs the command of a family and the backend.
func (n *neighbours) iptables(t *testing.T, ns *lab.Namespace, f ipproto.Family, args ...string) {
	t.Helper()
	if _, err := ns.Command(nil, append([]string{n.tool(f), "-w", "30"}, args...)...); err != nil {
		t.Fatal(err)
	}
}

// proxyFlags are those that the proxy and its other commands have in common.
func (n *neighbours) proxyFlags(node *neighbour) []string {
	return []string{
		"--manifests", filepath.Join(n.dir, "shop.yaml"), "--hostname-override", node.Name, "--cluster-cidr", "10.244.0.0/16,fd00:10:244::/56",
		"--iptables-backend", n.backend.String(),
	}
}

// startProxy starts the proxy on a node, and returns when it has synced both families.
func (n *neighbours) startProxy(t *testing.T, node *neighbour) {
	t.Helper()
	program, err := filepath.Abs("../../../bin/espalier")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append([]string{"run", "-v", "2", "--conntrack-max-per-core", "0"}, n.proxyFlags(node)...)...)
	cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE="+node.config.Lock)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // the thread that forks it lives as long as the node
	log := &process.Log{Also: process.Keep("coexist-" + strings.ReplaceAll(t.Name(), "/", "_") + "-" + node.Name)}
	node.proxy, err = process.Start("the proxy of "+node.Name, cmd, log, node.Do)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of the proxy of %s ends with\n%s", node.Name, log.Tail(40))
		}
		if err := node.proxy.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, f := range ipproto.Families {
		if err := log.Await(ctx, 0, fmt.Sprintf(`"Synced" family=%q`, f)); err != nil {
			t.Fatal(err)
		}
	}
}

// command runs another command of the program on a node.
func (n *neighbours) command(node *neighbour, name string, args ...string) ([]byte, error) {
	program, err := filepath.Abs("../../../bin/espalier")
	if err != nil {
		return nil, err
	}
	return node.Command(nil, append(append([]string{program, name}, n.proxyFlags(node)...), args...)...)
}

// routeVIPs leads the load balancers' addresses to the first node, for the host outside.
func (n *neighbours) routeVIPs() error {
	outside := n.wire.Outside()
	link, err := outside.Links().LinkByName("eth0")
	if err != nil {
		return err
	}
	for i, prefix := range vipRange {
		route := &netlink.Route{Dst: lab.IPNet(prefix), Gw: n.nodes[0].Addrs[i].AsSlice(), LinkIndex: link.Attrs().Index}
		if err := outside.Links().RouteAdd(route); err != nil {
			return fmt.Errorf("route %s of outside to %s: %w", prefix, n.nodes[0].Name, err)
		}
	}
	return nil
}

// requireProxy skips the test where the program was not built, as "make e2e" does.
func requireProxy(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("../../../bin/espalier"); err != nil {
		t.Fatalf("%v: make build", err)
	}
}
