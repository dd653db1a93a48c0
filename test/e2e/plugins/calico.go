package plugins

import (
	"crypto/sha256"
	"encoding/base64"
	"net/netip"

	"espalier/proxier/ipproto"
)

// Calico is Felix with its iptables data plane, ChainInsertMode Insert (the default), DefaultEndpointToHostAction
// ACCEPT (as its manifest has it), pools with natOutgoing and without encapsulation, and no host endpoints.
//
// Each of its rules carries an identity. It compares those with what iptables-save prints, soon after each of its own
// writes and then every three minutes, and when its jumps are not the first rules of their chains, or its last rules
// of FORWARD are not the last, they are deleted and put there again (projectcalico/calico: felix/iptables/table.go,
// loadDataplaneState, expectedHashesForInsertAppendChain).
func Calico() Plugin {
	return Plugin{
		Name: "Calico", Families: ipproto.Families[:], text: calicoText + calicoFilterText + calicoPodText,
		place: insist, sets: calicoSets,
		// Pods route by 169.254.1.1 or a link-local address, which nobody has (projectcalico/calico:
		// felix/dataplane/linux/endpoint_mgr.go, configureInterface).
		sysctls: func(n Node) []Sysctl {
			all := []Sysctl{{"ipv4/ip_forward", "1"}, {"ipv6/conf/all/forwarding", "1"}}
			for _, p := range n.Pods {
				v4, v6 := "ipv4/conf/"+p.Interface, "ipv6/conf/"+p.Interface
				all = append(all, Sysctl{v4 + "/rp_filter", "1"}, Sysctl{v4 + "/route_localnet", "1"}, Sysctl{v4 + "/proxy_arp", "1"},
					Sysctl{v4 + "/forwarding", "1"}, Sysctl{v6 + "/accept_ra", "0"}, Sysctl{v6 + "/proxy_ndp", "1"}, Sysctl{v6 + "/forwarding", "1"})
			}
			return all
		},
	}
}

// Set is the name of one of Calico's sets.
func (v view) Set(name string) string {
	if v.V6 {
		return "cali60" + name
	}
	return "cali40" + name
}

// ID stands for the hash of a policy's name, or of a selector, in names of chains and sets.
func (p Policy) ID() string {
	sum := sha256.Sum256([]byte(p.Name))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// calicoSets: the pools that are masqueraded, and those that are not the outside; and the pods that selectors of
// policies select (projectcalico/calico: felix/dataplane/linux/masq_mgr.go; felix/rules/rule_defs.go, IPSetID).
func calicoSets(v view) []Set {
	pools := []netip.Prefix{v.Cluster}
	sets := []Set{{Name: v.Set("all-ipam-pools"), Prefixes: pools}, {Name: v.Set("masq-ipam-pools"), Prefixes: pools}}
	for _, p := range v.Policies {
		sets = append(sets, Set{Name: v.Set("s:" + p.ID()), Addrs: p.From, Nets: true})
	}
	return sets
}

const calicoText = `
# Marks are cleared where a packet comes in; what comes from a pod is marked, and must come from where it would be
# routed to, so that no pod sends in the name of another. projectcalico/calico: felix/rules/static.go,
# StaticRawPreroutingChain, RPFilter, StaticRawOutputChain.
*raw
:cali-PREROUTING
:cali-OUTPUT
:cali-rpf-skip
:cali-from-host-endpoint
:cali-to-host-endpoint
-A PREROUTING @id@ -j cali-PREROUTING
-A OUTPUT @id@ -j cali-OUTPUT
-A cali-PREROUTING @id@ -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i cali+ @id@ -j MARK --set-xmark 0x40000/0x40000
-A cali-PREROUTING @id@ -m mark --mark 0x40000/0x40000 -j cali-rpf-skip
-A cali-PREROUTING @id@ -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP
-A cali-PREROUTING @id@ -m mark --mark 0x0/0x40000 -j cali-from-host-endpoint
-A cali-PREROUTING @id@ -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT @id@ -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT @id@ -j cali-to-host-endpoint
-A cali-OUTPUT @id@ -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
# Policies of host endpoints, of which there are none: before a service is translated, and after. The same file,
# StaticManglePreroutingChain, StaticManglePostroutingChain.
*mangle
:cali-PREROUTING
:cali-POSTROUTING
:cali-from-host-endpoint
:cali-to-host-endpoint
-A PREROUTING @id@ -j cali-PREROUTING
-A POSTROUTING @id@ -j cali-POSTROUTING
-A cali-PREROUTING @id@ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-PREROUTING @id@ -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING @id@ -j cali-from-host-endpoint
-A cali-PREROUTING @id@ -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-POSTROUTING @id@ -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-POSTROUTING @id@ -j MARK --set-xmark 0x0/0xf0000
-A cali-POSTROUTING @id@ -m conntrack --ctstate DNAT -j cali-to-host-endpoint
-A cali-POSTROUTING @id@ -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j RETURN
COMMIT
# What leaves the pools is masqueraded. Floating addresses come first; there are none. The same file,
# StaticNATTableChains; felix/rules/nat.go, NATOutgoingChain.
*nat
:cali-PREROUTING
:cali-OUTPUT
:cali-POSTROUTING
:cali-fip-dnat
:cali-fip-snat
:cali-nat-outgoing
-A PREROUTING @id@ -j cali-PREROUTING
-A OUTPUT @id@ -j cali-OUTPUT
-A POSTROUTING @id@ -j cali-POSTROUTING
-A cali-PREROUTING @id@ -j cali-fip-dnat
-A cali-OUTPUT @id@ -j cali-fip-dnat
-A cali-POSTROUTING @id@ -j cali-fip-snat
-A cali-POSTROUTING @id@ -j cali-nat-outgoing
-A cali-nat-outgoing @id@ -m set --match-set {{.Set "masq-ipam-pools"}} src -m set ! --match-set {{.Set "all-ipam-pools"}} dst -j MASQUERADE --random-fully
COMMIT
`

const calicoFilterText = `
# Pods' packets go through the chains of their interface, in both directions, which return what they accept, so that
# the other end is asked, too. The last two rules of FORWARD accept it then, behind the rules of others, and mark what
# is only forwarded. The same file, StaticFilterForwardChains, StaticFilterForwardAppendRules, filterInputChain,
# filterWorkloadToHostChain, filterOutputChain.
*filter
:cali-FORWARD
:cali-INPUT
:cali-OUTPUT
:cali-cidr-block
:cali-from-hep-forward
:cali-to-hep-forward
:cali-from-host-endpoint
:cali-to-host-endpoint
:cali-from-wl-dispatch
:cali-to-wl-dispatch
:cali-wl-to-host
-A FORWARD @id@ -j cali-FORWARD
-A! FORWARD @id@ -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A! FORWARD @id@ -j MARK --set-xmark 0x10000/0x10000
-A INPUT @id@ -j cali-INPUT
-A OUTPUT @id@ -j cali-OUTPUT
-A cali-FORWARD @id@ -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD @id@ -m mark --mark 0x0/0x10000 -j cali-from-hep-forward
-A cali-FORWARD -i cali+ @id@ -j cali-from-wl-dispatch
-A cali-FORWARD -o cali+ @id@ -j cali-to-wl-dispatch
-A cali-FORWARD @id@ -j cali-to-hep-forward
-A cali-FORWARD @id@ -j cali-cidr-block
-A cali-INPUT -i cali+ @id@ -g cali-wl-to-host
-A cali-INPUT @id@ -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT @id@ -j MARK --set-xmark 0x0/0xf0000
-A cali-INPUT @id@ -j cali-from-host-endpoint
-A cali-INPUT @id@ -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT @id@ -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o cali+ @id@ -j RETURN
-A cali-OUTPUT @id@ -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT @id@ -m conntrack ! --ctstate DNAT -j cali-to-host-endpoint
-A cali-OUTPUT @id@ -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
{{if .V6}}{{range $type := .NeighbourTypes}}
-A cali-wl-to-host -p ipv6-icmp @id@ -m icmp6 --icmpv6-type {{$type}} -j ACCEPT
{{end}}{{end}}
-A cali-wl-to-host @id@ -j cali-from-wl-dispatch
-A cali-wl-to-host @id@ -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
COMMIT
`

// NeighbourTypes are the ICMPv6 messages that a pod may always send to its router.
func (v view) NeighbourTypes() []int { return []int{130, 131, 132, 133, 135, 136} }

const calicoPodText = `
# The chains of each pod: what belongs to a connection that was accepted, then its policies, each of which accepts by a
# mark, then the profile of its namespace, which accepts all; who has a policy does not get that far. projectcalico/calico:
# felix/rules/dispatch.go; felix/rules/endpoints.go, endpointIptablesChain; felix/rules/policy.go.
*filter
{{range .Policies}}
:cali-pi-_{{.ID}}
-A cali-pi-_{{.ID}} -p tcp @id@ -m comment --comment "Policy {{.Name}} ingress" -m set --match-set {{$.Set (print "s:" .ID)}} src -m multiport --dports {{.Port}} -j MARK --set-xmark 0x10000/0x10000
-A cali-pi-_{{.ID}} @id@ -m mark --mark 0x10000/0x10000 -j RETURN
{{end}}
:cali-pri-kns.shop
:cali-pro-kns.shop
-A cali-pri-kns.shop @id@ -m comment --comment "Profile kns.shop ingress" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.shop @id@ -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.shop @id@ -m comment --comment "Profile kns.shop egress" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.shop @id@ -m mark --mark 0x10000/0x10000 -j RETURN
{{range .Pods}}
:cali-tw-{{.Interface}}
:cali-fw-{{.Interface}}
-A cali-from-wl-dispatch -i {{.Interface}} @id@ -g cali-fw-{{.Interface}}
-A cali-to-wl-dispatch -o {{.Interface}} @id@ -g cali-tw-{{.Interface}}
-A cali-tw-{{.Interface}} @id@ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-{{.Interface}} @id@ -m conntrack --ctstate INVALID -j DROP
-A cali-tw-{{.Interface}} @id@ -j MARK --set-xmark 0x0/0x30000
{{if .Isolated}}
-A cali-tw-{{.Interface}} @id@ -m comment --comment "Start of tier default" -j MARK --set-xmark 0x0/0x20000
{{$i := .Interface}}{{range .Allowed}}
-A cali-tw-{{$i}} @id@ -m comment --comment "{{.Name}}" -m mark --mark 0x0/0x20000 -j cali-pi-_{{.ID}}
-A cali-tw-{{$i}} @id@ -m comment --comment "Return if policy accepted" -m mark --mark 0x10000/0x10000 -j RETURN
{{end}}
-A cali-tw-{{.Interface}} @id@ -m comment --comment "Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
{{end}}
-A cali-tw-{{.Interface}} @id@ -j cali-pri-kns.shop
-A cali-tw-{{.Interface}} @id@ -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-{{.Interface}} @id@ -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-fw-{{.Interface}} @id@ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-{{.Interface}} @id@ -m conntrack --ctstate INVALID -j DROP
-A cali-fw-{{.Interface}} @id@ -j MARK --set-xmark 0x0/0x30000
-A cali-fw-{{.Interface}} -p udp @id@ -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-{{.Interface}} -p 4 @id@ -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-{{.Interface}} @id@ -j cali-pro-kns.shop
-A cali-fw-{{.Interface}} @id@ -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-{{.Interface}} @id@ -m comment --comment "Drop if no profiles matched" -j DROP
{{end}}
-A cali-from-wl-dispatch @id@ -m comment --comment "Unknown interface" -j DROP
-A cali-to-wl-dispatch @id@ -m comment --comment "Unknown interface" -j DROP
COMMIT
`
