package plugins

import (
	"crypto/sha512"
	"encoding/hex"

	"espalier/proxier/ipproto"
)

// Portmap is the CNI plugin portmap with the capability portMappings and snat, which Flannel, Calico and Weave Net put
// behind their own in the list of CNI plugins: a process that runs whenever a pod starts or ends, and adds what is
// missing (containernetworking/plugins: plugins/meta/portmap/portmap_iptables.go, chain.go).
func Portmap() Plugin {
	return Plugin{
		Name: "portmap", Families: ipproto.Families[:], text: portmapText, shares: true,
		place: func(chain string, stand []string, hooks []Hook) []string {
			if chain == "POSTROUTING" { // or the bridge and ptp plugins would masquerade first: genMarkMasqChain
				return prependMissing(chain, stand, hooks)
			}
			return appendMissing(chain, stand, hooks)
		},
		// What a process of the node sends to 127.0.0.1 has to be routed to a pod (utils.go, enableLocalnetRouting).
		sysctls: func(n Node) (all []Sysctl) {
			for _, p := range n.Pods {
				if len(p.HostPorts) > 0 && n.Bridge == "" {
					all = append(all, Sysctl{"ipv4/conf/" + p.Interface + "/route_localnet", "1"})
				}
			}
			if n.Bridge != "" {
				all = append(all, Sysctl{"ipv4/conf/" + n.Bridge + "/route_localnet", "1"})
			}
			return all
		},
	}
}

// DNAT is the chain of the pod's host ports.
func (p podView) DNAT() string {
	sum := sha512.Sum512([]byte("cbr0" + p.Name))
	return ("CNI-DN-" + hex.EncodeToString(sum[:]))[:28]
}

// Sandbox stands for the identity of the pod's sandbox.
func (p podView) Sandbox() string {
	sum := sha512.Sum512([]byte(p.Name))
	return hex.EncodeToString(sum[:32])
}

const portmapText = `
# A connection to a host port is translated to the pod. It is masqueraded where the reply would not come back through
# this node: from the pod's own network, and from 127.0.0.1. The services of Kubernetes go first, as the jumps are
# appended. containernetworking/plugins: plugins/meta/portmap/portmap_iptables.go, genToplevelDnatChain, fillDnatRules,
# genSetMarkChain, genMarkMasqChain.
*nat
:CNI-HOSTPORT-DNAT
:CNI-HOSTPORT-SETMARK
:CNI-HOSTPORT-MASQ
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
{{$v := .}}
{{range $pod := .Pods}}{{if .HostPorts}}
:{{.DNAT}}
{{range .HostPorts}}
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"cbr0\" id: \"{{$pod.Sandbox}}\"" -m multiport --dports {{.Host}} -j {{$pod.DNAT}}
-A {{$pod.DNAT}} -s {{$v.Network $pod}} -p tcp -m tcp --dport {{.Host}} -j CNI-HOSTPORT-SETMARK
{{if not $v.V6}}-A {{$pod.DNAT}} -s 127.0.0.1/32 -p tcp -m tcp --dport {{.Host}} -j CNI-HOSTPORT-SETMARK{{end}}
-A {{$pod.DNAT}} -p tcp -m tcp --dport {{.Host}} -j DNAT --to-destination {{$pod.At .Container}}
{{end}}
{{end}}{{end}}
COMMIT
`
