package wire

import (
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
)

// Reboot takes away what a reboot takes: the rules of both backends, whoever wrote them, and the connections that are
// tracked. Interfaces, addresses and routes are there again at once, and so are the rules of the network plugin.
func (n *Node) Reboot() error {
	if err := n.forgetRules(); err != nil {
		return fmt.Errorf("reboot %s: %w", n.Name, err)
	}
	err := n.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	if err != nil {
		return fmt.Errorf("reboot %s: flush conntrack: %w", n.Name, err)
	}
	n.jumps = [2]bool{}
	return n.masquerade(n.PodCIDRs())
}

func (n *Node) forgetRules() error {
	if _, err := n.Command(nil, "nft", "flush", "ruleset"); err != nil {
		return err
	}
	for _, tool := range []string{"iptables-legacy", "ip6tables-legacy"} {
		tables, err := n.Command(nil, tool+"-save")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(tables)) {
			table, ok := strings.CutPrefix(strings.TrimSpace(line), "*")
			if !ok {
				continue
			}
			for _, what := range []string{"-F", "-X"} {
				if _, err := n.Command(nil, tool, "-w", "10", "-t", table, what); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
