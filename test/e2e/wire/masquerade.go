package wire

import (
	"fmt"
	"net/netip"
	"strings"
)

// masquerade writes the rules of the network plugin for the node's pod ranges: without them, nobody outside could answer a
// pod. They are as Flannel and Calico write them, less what has no meaning here.
func (n *Node) masquerade(cidrs []netip.Prefix) error {
	backend := n.wire.config.Backend
	if backend == "" {
		return nil
	}
	for _, cidr := range cidrs {
		cluster, err := n.wire.clusterCIDR(cidr)
		if err != nil {
			return err
		}
		tool := [...]string{"iptables-", "ip6tables-"}[family(cidr)] + backend + "-restore"
		write := pluginRules[n.wire.config.Mode]
		if write == nil {
			return fmt.Errorf("write the network plugin's rules: there are none for mode %s: leave the backend empty", n.wire.config.Mode)
		}
		rules := write(cluster, cidr)
		if n.jumps[family(cidr)] {
			rules = withoutJumps(rules)
		}
		if _, err := n.Command(strings.NewReader(rules), tool, "--noflush", "-w", "10"); err != nil {
			return fmt.Errorf("write the network plugin's rules: %w", err)
		}
		n.jumps[family(cidr)] = true
	}
	return nil
}

// withoutJumps leaves the built-in chains out, where the rules stand already. The other chains are emptied by being
// declared.
func withoutJumps(rules string) string {
	var kept []string
	for line := range strings.Lines(rules) {
		if !strings.HasPrefix(line, "-A POSTROUTING ") && !strings.HasPrefix(line, "-I POSTROUTING ") && !strings.HasPrefix(line, "-A FORWARD ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// clusterCIDR is the range that a pod range was taken from.
func (w *Wire) clusterCIDR(cidr netip.Prefix) (netip.Prefix, error) {
	for _, c := range w.config.ClusterCIDRs {
		if c.Contains(cidr.Addr()) {
			return c, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("pod range %s is in none of the cluster's %v", cidr, w.config.ClusterCIDRs)
}

// pluginRules are for iptables-restore: what the plugin of a mode writes for the cluster's range and the node's own.
var pluginRules = map[Mode]func(cluster, own netip.Prefix) string{
	Overlay: func(cluster, own netip.Prefix) string {
		masq, forward := `-m comment --comment "flanneld masq"`, `-m comment --comment "flanneld forward"`
		multicast := [...]string{"224.0.0.0/4", "ff00::/8"}[family(own)]
		return fmt.Sprintf(`*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING %[3]s -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 %[3]s -j RETURN
-A FLANNEL-POSTRTG -s %[2]s -d %[1]s %[3]s -j RETURN
-A FLANNEL-POSTRTG -s %[1]s -d %[2]s %[3]s -j RETURN
-A FLANNEL-POSTRTG ! -s %[1]s -d %[2]s %[3]s -j RETURN
-A FLANNEL-POSTRTG -s %[1]s ! -d %[5]s %[3]s -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s %[1]s -d %[1]s %[3]s -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD %[4]s -j FLANNEL-FWD
-A FLANNEL-FWD -s %[1]s %[4]s -j ACCEPT
-A FLANNEL-FWD -d %[1]s %[4]s -j ACCEPT
COMMIT
`, cluster, own, masq, forward, multicast)
	},
	Routed: func(cluster, _ netip.Prefix) string {
		return fmt.Sprintf(`*nat
:cali-POSTROUTING - [0:0]
:cali-nat-outgoing - [0:0]
-I POSTROUTING -m comment --comment "cali:postrouting" -j cali-POSTROUTING
-A cali-POSTROUTING -m comment --comment "cali:nat-outgoing" -j cali-nat-outgoing
-A cali-nat-outgoing -m comment --comment "cali:pools" -s %[1]s ! -d %[1]s -j MASQUERADE --random-fully
COMMIT
`, cluster)
	},
}
