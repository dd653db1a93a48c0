package plugins

import (
	"espalier/proxier/ipproto"
)

// Kubelet is the kubelet with makeIPTablesUtilChains, the default. It adds what is missing and moves nothing; it looks
// every minute whether its canaries are gone (kubernetes/kubernetes: pkg/kubelet/kubelet_network_linux.go).
func Kubelet() Plugin {
	return Plugin{Name: "kubelet", Families: ipproto.Families[:], text: kubeletText, place: prependMissing, shares: true}
}

const kubeletText = `
# The hint says which backend this node uses, for programs in containers that bring both. The canaries tell the kubelet
# that somebody flushed the tables. kubernetes/kubernetes: pkg/kubelet/kubelet_network_linux.go, initNetworkUtil.
*mangle
:KUBE-IPTABLES-HINT
:KUBE-KUBELET-CANARY
COMMIT
*nat
:KUBE-KUBELET-CANARY
COMMIT
*filter
:KUBE-KUBELET-CANARY
{{if not .V6}}
# With route_localnet, neighbours could reach what listens on 127.0.0.1 only (CVE-2020-8558). The chain is shared with
# the service proxy. The same file, syncIPTablesRulesV4.
:KUBE-FIREWALL
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
{{end}}
COMMIT
`
