package ruleset

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// The chains with fixed names. Names, and the comments of the jumps to them, are those of kube-proxy's iptables
// mode, so that the one replaces the other on a running node.
const (
	Services         = "KUBE-SERVICES"
	ExternalServices = "KUBE-EXTERNAL-SERVICES"
	NodePorts        = "KUBE-NODEPORTS"
	Postrouting      = "KUBE-POSTROUTING"
	MarkMasq         = "KUBE-MARK-MASQ"
	Forward          = "KUBE-FORWARD"
	ProxyFirewall    = "KUBE-PROXY-FIREWALL"
	Firewall         = "KUBE-FIREWALL" // shared with the kubelet: created and filled, never deleted
	ProxyCanary      = "KUBE-PROXY-CANARY"
	KubeletCanary    = "KUBE-KUBELET-CANARY"
	KubeletHint      = "KUBE-IPTABLES-HINT"
)

// The chains that only kube-proxy's mode ipvs has.
const (
	ipvsNodePorts      = "KUBE-NODE-PORT"
	ipvsLoadBalancer   = "KUBE-LOAD-BALANCER"
	ipvsSourceFirewall = "KUBE-SOURCE-RANGES-FIREWALL"
	ipvsFilter         = "KUBE-IPVS-FILTER"
	ipvsOutFilter      = "KUBE-IPVS-OUT-FILTER"
)

// The prefixes of all other chains of ours. kube-proxy deletes chains with these prefixes from the nat table
// when it does not know them, which is what makes a takeover in its direction clean.
const (
	PrefixService  = "KUBE-SVC-" // the endpoints for policy Cluster
	PrefixLocal    = "KUBE-SVL-" // the endpoints for policy Local
	PrefixEndpoint = "KUBE-SEP-"
	PrefixExternal = "KUBE-EXT-"
	PrefixFirewall = "KUBE-FW-"
)

// MaxChainName is the longest name that the kernel takes (XT_FUNCTION_MAXNAMELEN is 29, with the final NUL).
const MaxChainName = 28

// Hash is the part of a chain name that stands for the parts: the first 16 characters of the base32 text of
// their SHA-256 sum, which is 80 bits. The parts are joined without a separator.
func Hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return base32.StdEncoding.EncodeToString(sum[:10])
}

// PerService reports whether a chain of this name belongs to one Service or to a dispatch tree: it is ours,
// and stale when the plan does not have it.
func PerService(name string) bool {
	for _, p := range []string{PrefixService, PrefixLocal, PrefixEndpoint, PrefixExternal, PrefixFirewall} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// Owned reports whether the chain is one whose whole content the proxy decides.
func Owned(c Chain) bool {
	if c.Table != Filter && c.Table != Nat {
		return false
	}
	if PerService(c.Name) {
		return true
	}
	switch c.Name {
	case Services, NodePorts:
		return true
	case Postrouting, MarkMasq:
		return c.Table == Nat
	case ExternalServices, Forward, ProxyFirewall, Firewall:
		return c.Table == Filter
	}
	return false
}

// OwnedByIPVSMode reports whether the chain is one that kube-proxy's mode ipvs has and mode iptables has not.
func OwnedByIPVSMode(c Chain) bool {
	switch c.Name {
	case ipvsNodePorts:
		return c.Table == Filter || c.Table == Nat
	case ipvsLoadBalancer:
		return c.Table == Nat
	case ipvsSourceFirewall, ipvsFilter, ipvsOutFilter:
		return c.Table == Filter
	}
	return false
}
