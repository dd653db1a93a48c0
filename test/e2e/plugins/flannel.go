package plugins

import (
	"espalier/proxier/ipproto"
)

// Flannel is flanneld with the VXLAN backend and --ip-masq, as its manifest has it (flannel-io/flannel:
// Documentation/kube-flannel.yml), beside the CNI plugins flannel and bridge, which add no rules of their own: the
// former passes ipMasq as false when flanneld masquerades.
//
// It writes all of its rules anew when it starts, at the end of the built-in chains, and looks every five seconds
// whether one of them is missing; if so, all are deleted and appended again, "because the order of the rules is
// important" (flannel-io/flannel: pkg/trafficmngr/iptables/iptables.go, ensureIPTables).
func Flannel() Plugin {
	return Plugin{
		Name: "Flannel", Families: ipproto.Families[:], text: flannelText,
		place: appendAlways, again: appendAnew,
		sysctls: bridged,
	}
}

// bridged are the sysctls that a bridge for pods needs, so that replies of a pod to another one of the same bridge
// come past the rules (flannel-io/flannel: Documentation/kubernetes.md; the kubelet's preflight check of kubeadm).
func bridged(Node) []Sysctl {
	return []Sysctl{
		{"bridge/bridge-nf-call-iptables", "1"}, {"bridge/bridge-nf-call-ip6tables", "1"},
		{"ipv4/ip_forward", "1"}, {"ipv6/conf/all/forwarding", "1"},
	}
}

const flannelText = `
# What leaves the pod network is masqueraded; what stays in it, and what comes from outside for a pod of this node, as
# with externalTrafficPolicy Local, is not. What the service proxy has marked is left to it: masquerading twice met
# bugs of kernels. flannel-io/flannel: pkg/trafficmngr/iptables/iptables.go, masqRules, masqIP6Rules;
# pkg/trafficmngr/trafficmngr.go, KubeProxyMark.
*nat
:FLANNEL-POSTRTG
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s {{.PodCIDR}} -d {{.Cluster}} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s {{.Cluster}} -d {{.PodCIDR}} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s {{.Cluster}} -d {{.PodCIDR}} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s {{.Cluster}} ! -d {{if .V6}}ff00::/8{{else}}224.0.0.0/4{{end}} -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s {{.Cluster}} -d {{.Cluster}} -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
# Pods work where forwarding is dropped by default, as Docker makes it. The same file, forwardRules.
*filter
:FLANNEL-FWD
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s {{.Cluster}} -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d {{.Cluster}} -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
`
