package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"espalier/test/e2e/client"
	"espalier/test/e2e/cluster"
)

// destination is where a rule of the nat table leads.
var destination = regexp.MustCompile(`--to-destination (\S+)`)

// destinations returns the addresses to which rules of a node lead.
func destinations(n *cluster.Node, backend string) (map[netip.Addr]bool, error) {
	all := map[netip.Addr]bool{}
	for _, tool := range []string{"iptables-", "ip6tables-"} {
		text, err := n.Command(nil, tool+backend+"-save", "-t", "nat")
		if err != nil {
			return nil, err
		}
		for _, m := range destination.FindAllStringSubmatch(string(text), -1) {
			to, err := netip.ParseAddrPort(m[1])
			if err != nil {
				return nil, fmt.Errorf("rule of %s: %w", n.Name, err)
			}
			all[to.Addr()] = true
		}
	}
	return all, nil
}

// rulesLeadTo returns nil if the rules of all nodes lead to each address of the pods, and to no other address of a pod, but
// for those of pods in other namespaces.
func (s *shopTest) rulesLeadTo(pods []corev1.Pod) error {
	wanted := map[netip.Addr]bool{}
	for _, p := range pods {
		for _, a := range podAddrs(p) {
			wanted[a] = true
		}
	}
	for _, n := range s.c.Nodes {
		have, err := destinations(n, s.c.Config.Backend)
		if err != nil {
			return err
		}
		for a := range wanted {
			if !have[a] {
				return fmt.Errorf("%s has no rule for the endpoint %s", n.Name, a)
			}
		}
		for a := range have {
			if !wanted[a] && !slices.Contains(s.c.Wire.Control().Addrs, a) { // the API server's Service
				return fmt.Errorf("%s has a rule for %s, where no pod is", n.Name, a)
			}
		}
	}
	return nil
}

func podAddrs(p corev1.Pod) (addrs []netip.Addr) {
	for _, ip := range p.Status.PodIPs {
		addrs = append(addrs, netip.MustParseAddr(ip.IP))
	}
	return addrs
}

// flows returns the connections that a node tracks.
func (s *shopTest) flows(n *cluster.Node) (all []*netlink.ConntrackFlow) {
	s.Helper()
	s.must(n.Do(func() error {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			some, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				return fmt.Errorf("read the connection tracking table of %s: %w", n.Name, err)
			}
			all = append(all, some...)
		}
		return nil
	}))
	return all
}

// resets returns how many TCP resets a pod has sent: one for each connection to a port where nobody listens, among others.
func (s *shopTest) resets(p corev1.Pod) (sent int) {
	s.Helper()
	ns, err := s.nodeOf(p).Agent.Namespace(p.Namespace, p.Name)
	s.must(err)
	var text []byte
	s.must(ns.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	}))
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] != "Tcp:" {
			continue
		}
		if names == nil { // the first line has the names, the second the numbers
			names = fields
			continue
		}
		sent, err = strconv.Atoi(fields[slices.Index(names, "OutRsts")])
		s.must(err)
	}
	return sent
}

// tracked says what the nodes know about the connection of a request.
func (s *shopTest) tracked(v *visitor, r client.Result) string {
	s.Helper()
	var found []string
	for _, f := range s.flows(v.node) {
		if from, to := forward(f); from == r.From && to == r.To {
			found = append(found, f.String())
		}
	}
	if found == nil {
		return v.node.Name + " does not track it"
	}
	return v.node.Name + " tracks " + strings.Join(found, "; ")
}

func forward(f *netlink.ConntrackFlow) (from, to netip.AddrPort) {
	return netip.AddrPortFrom(addr(f.Forward.SrcIP), f.Forward.SrcPort), netip.AddrPortFrom(addr(f.Forward.DstIP), f.Forward.DstPort)
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
