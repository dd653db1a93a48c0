package plugins

import (
	"fmt"
	"strings"

	"espalier/proxier/ipproto"
)

// Cilium is the Cilium agent beside a service proxy (kubeProxyReplacement off), with VXLAN, routes for each endpoint,
// masquerading by iptables in both families, the transparent DNS proxy, and without encryption. What its BPF programs
// do is not there: the overlay is a plain one, of the name cilium_host.
//
// When it starts, and whenever the node's devices or its configuration change, it renames its chains, makes them anew
// beside, puts the jumps to the new ones at the top, and then deletes the old ones with their jumps (cilium/cilium:
// pkg/datapath/iptables/iptables.go, doInstallRules; custom_chain.go; prepend-iptables-chains is the default).
func Cilium() Plugin {
	return Plugin{
		Name: "Cilium", Families: ipproto.Families[:], text: ciliumText,
		place: insist, restart: reinstall,
		// Packets to the proxy are delivered locally (cilium/cilium: pkg/datapath/linux/routing, pkg/proxy/routes.go).
		ruling: func(view) []Ruling { return []Ruling{{Priority: 9, Table: 2004, Mark: 0x200, Mask: 0xf00}} },
		// cilium/cilium: pkg/datapath/loader/base.go; pkg/datapath/iptables/sysctl_linux.go, enableIPForwarding.
		sysctls: func(n Node) []Sysctl {
			all := []Sysctl{{"ipv4/ip_forward", "1"}, {"ipv6/conf/all/forwarding", "1"}, {"ipv4/conf/all/rp_filter", "0"}}
			if n.Overlay != "" {
				all = append(all, Sysctl{"ipv4/conf/" + n.Overlay + "/rp_filter", "0"})
			}
			for _, p := range n.Pods {
				all = append(all, Sysctl{"ipv4/conf/" + p.Interface + "/rp_filter", "0"})
			}
			return all
		},
	}
}

// ciliumOld is what a chain is called while the new one is made.
const ciliumOld = "OLD_"

// reinstall makes the chains anew beside the old ones. For a moment there are two of each.
func reinstall(k kernel, r Rules) error {
	saved, err := k.save()
	if err != nil {
		return err
	}
	old := Rules{Chains: map[Chain][]string{}}
	renames := map[string][]string{}
	for c := range r.Chains {
		if _, there := saved[c]; there {
			renames[c.Table] = append(renames[c.Table], "-E "+c.Name+" "+ciliumOld+c.Name)
			old.Chains[Chain{c.Table, ciliumOld + c.Name}] = nil
		}
	}
	if err := k.restore(Rules{Hooks: r.Hooks}.input(renames)); err != nil {
		return fmt.Errorf("rename chains: %w", err)
	}
	for _, h := range r.Hooks {
		// The jump follows the chain, but its comment does not.
		old.Hooks = append(old.Hooks, Hook{In: h.In, Rule: strings.Replace(h.Rule, "-j CILIUM_", "-j "+ciliumOld+"CILIUM_", 1)})
	}
	if err := k.write(r, prependMissing); err != nil {
		return err
	}
	return k.remove(old)
}

const ciliumText = `
# What the datapath hands to a proxy on this node, and what that answers, is not tracked. cilium/cilium:
# pkg/datapath/iptables/iptables.go, installStaticProxyRules.
*raw
:CILIUM_PRE_raw
:CILIUM_OUTPUT_raw
-A PREROUTING -m comment --comment "cilium-feeder: CILIUM_PRE_raw" -j CILIUM_PRE_raw
-A OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT_raw" -j CILIUM_OUTPUT_raw
-A CILIUM_PRE_raw -m mark --mark 0x200/0xf00 -m comment --comment "cilium: NOTRACK for proxy traffic" -j CT --notrack
-A CILIUM_OUTPUT_raw -o lxc+ -m mark --mark 0xa00/0xfffffeff -m comment --comment "cilium: NOTRACK for proxy return traffic" -j CT --notrack
-A CILIUM_OUTPUT_raw -o cilium_host -m mark --mark 0xa00/0xfffffeff -m comment --comment "cilium: NOTRACK for proxy return traffic" -j CT --notrack
-A CILIUM_OUTPUT_raw -o lxc+ -m mark --mark 0x800/0xe00 -m comment --comment "cilium: NOTRACK for L7 proxy upstream traffic" -j CT --notrack
-A CILIUM_OUTPUT_raw -o cilium_host -m mark --mark 0x800/0xe00 -m comment --comment "cilium: NOTRACK for L7 proxy upstream traffic" -j CT --notrack
COMMIT
# Traffic to a proxy is delivered to its socket, whose port stands in the upper half of the mark. The same file,
# inboundProxyRedirectRule, iptProxyRule.
*mangle
:CILIUM_PRE_mangle
:CILIUM_POST_mangle
-A PREROUTING -m comment --comment "cilium-feeder: CILIUM_PRE_mangle" -j CILIUM_PRE_mangle
-A POSTROUTING -m comment --comment "cilium-feeder: CILIUM_POST_mangle" -j CILIUM_POST_mangle
-A CILIUM_PRE_mangle ! -o lo -m socket --transparent -m mark ! --mark 0xe00/0xf00 -m mark ! --mark 0x800/0xf00 -m comment --comment "cilium: any->pod redirect proxied traffic to host proxy" -j MARK --set-xmark 0x200/0xffffffff
-A CILIUM_PRE_mangle -p tcp -m mark --mark 0x8ba60200 -m comment --comment "cilium: TPROXY to host cilium-dns-egress proxy" -j TPROXY --on-port 42635 --on-ip {{if .V6}}::1{{else}}127.0.0.1{{end}} --tproxy-mark 0x200/0xffffffff
-A CILIUM_PRE_mangle -p udp -m mark --mark 0x8ba60200 -m comment --comment "cilium: TPROXY to host cilium-dns-egress proxy" -j TPROXY --on-port 42635 --on-ip {{if .V6}}::1{{else}}127.0.0.1{{end}} --tproxy-mark 0x200/0xffffffff
COMMIT
# Pods' traffic is masqueraded when it leaves the pod network, but not that of the proxy; what the node sends to pods of
# others gets the address that they answer to by the overlay; what it sends to its own pods from loopback gets one that
# they can answer at all. The same file, installMasqueradeRules.
*nat
:CILIUM_PRE_nat
:CILIUM_OUTPUT_nat
:CILIUM_POST_nat
-A PREROUTING -m comment --comment "cilium-feeder: CILIUM_PRE_nat" -j CILIUM_PRE_nat
-A OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT_nat" -j CILIUM_OUTPUT_nat
-A POSTROUTING -m comment --comment "cilium-feeder: CILIUM_POST_nat" -j CILIUM_POST_nat
-A CILIUM_POST_nat -s {{.PodCIDR}} ! -d {{.PodCIDR}} ! -o cilium_+ -m comment --comment "cilium masquerade non-cluster" -j MASQUERADE
-A CILIUM_POST_nat -m mark --mark 0xa00/0xe00 -m comment --comment "exclude proxy return traffic from masquerade" -j ACCEPT
-A CILIUM_POST_nat ! -s {{.PodCIDR}} ! -d {{.PodCIDR}} -o cilium_host -m comment --comment "cilium host->cluster masquerade" -j SNAT --to-source {{.Router}}
-A CILIUM_POST_nat -s {{if .V6}}::1/128{{else}}127.0.0.1/32{{end}} -o lxc+ -m comment --comment "cilium host->cluster from {{if .V6}}::1{{else}}127.0.0.1{{end}} masquerade" -j SNAT --to-source {{.Router}}
COMMIT
# Pods work where forwarding is dropped by default, and in spite of a service proxy that drops what conntrack calls
# invalid. The same file, installForwardChainRulesIpX.
*filter
:CILIUM_INPUT
:CILIUM_OUTPUT
:CILIUM_FORWARD
-A INPUT -m comment --comment "cilium-feeder: CILIUM_INPUT" -j CILIUM_INPUT
-A OUTPUT -m comment --comment "cilium-feeder: CILIUM_OUTPUT" -j CILIUM_OUTPUT
-A FORWARD -m comment --comment "cilium-feeder: CILIUM_FORWARD" -j CILIUM_FORWARD
-A CILIUM_FORWARD -o cilium_host -m comment --comment "cilium: any->cluster on cilium_host forward accept" -j ACCEPT
-A CILIUM_FORWARD -i cilium_host -m comment --comment "cilium: cluster->any on cilium_host forward accept (nodeport)" -j ACCEPT
-A CILIUM_FORWARD -i lxc+ -m comment --comment "cilium: cluster->any on lxc+ forward accept" -j ACCEPT
-A CILIUM_FORWARD -i cilium_net -m comment --comment "cilium: cluster->any on cilium_net forward accept (nodeport)" -j ACCEPT
-A CILIUM_FORWARD -o lxc+ -m comment --comment "cilium: any->cluster on lxc+ forward accept" -j ACCEPT
-A CILIUM_FORWARD -i lxc+ -m comment --comment "cilium: cluster->any on lxc+ forward accept (nodeport)" -j ACCEPT
# What comes from processes of the node is marked, so that the datapath can tell it from what was masqueraded. The same
# file, installHostTrafficMarkRule, installStaticProxyRules.
-A CILIUM_INPUT -m mark --mark 0x200/0xf00 -m comment --comment "cilium: ACCEPT for proxy traffic" -j ACCEPT
-A CILIUM_OUTPUT -m mark --mark 0xa00/0xe00 -m comment --comment "cilium: ACCEPT for proxy traffic" -j ACCEPT
-A CILIUM_OUTPUT -m mark --mark 0x800/0xe00 -m comment --comment "cilium: ACCEPT for l7 proxy upstream traffic" -j ACCEPT
-A CILIUM_OUTPUT -m mark ! --mark 0xe00/0xf00 -m mark ! --mark 0xd00/0xf00 -m mark ! --mark 0x400/0xf00 -m mark ! --mark 0xa00/0xe00 -m mark ! --mark 0x800/0xe00 -m mark ! --mark 0xf00/0xf00 -m comment --comment "cilium: host->any mark as from host" -j MARK --set-xmark 0xc00/0xf00
COMMIT
`
