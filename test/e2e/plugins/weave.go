package plugins

import (
	"net/netip"
	"slices"
	"strings"

	"espalier/proxier/ipproto"
)

// Weave is Weave Net 2.8 with its network policy controller and without encryption, as its manifest has it. It knows
// IPv4 only.
//
// Its rules in FORWARD say of themselves that they must go before KUBE-FORWARD, which accepts what carries the mark of
// the service proxy. They are put at the top, all of them, whenever one is missing, which it looks at when it starts
// and when its canary is gone; while all are there, they are left where they are (weaveworks/weave: net/iptables.go,
// ensureRulesAtTop, Monitor; net/bridge.go, ConfigureIPTables).
func Weave() Plugin {
	return Plugin{
		Name: "Weave Net", Families: []ipproto.Family{ipproto.IPv4}, text: weaveText + weavePolicyText,
		place: func(chain string, stand []string, hooks []Hook) []string {
			if chain == "FORWARD" {
				return topAnew(chain, stand, hooks)
			}
			return appendMissing(chain, stand, hooks)
		},
		sets: weaveSets, sysctls: bridged,
	}
}

// The names of sets, as its own: a prefix, and a short name made of printable characters.
const (
	weaveLocal   = "weaver-no-masq-local"
	weaveDefault = "weave-;rGqyM$l1HN^cfDki~Z]6!N"
	weaveEgress  = "weave-s_+ChJ4Uy_$}G;WdH|~TK)I"
)

// weaveSets: one of the pods' networks of this node, so that a client's address is kept on the way to them; one of the
// pods of all nodes that no policy selects, for either direction; and two for each policy (weaveworks/weave:
// net/bridge.go, NoMasqLocalTracker; npc/namespace.go, addPod).
func weaveSets(v view) []Set {
	free := Set{Name: weaveDefault}
	anyone := Set{Name: weaveEgress}
	for _, p := range slices.Concat(v.Pods, v.Others) {
		anyone.Addrs = append(anyone.Addrs, p.Addr)
		if !p.Isolated {
			free.Addrs = append(free.Addrs, p.Addr)
		}
	}
	sets := []Set{{Name: weaveLocal, Prefixes: []netip.Prefix{v.PodCIDR}}, free, anyone}
	for _, p := range v.Policies {
		sets = append(sets, Set{Name: p.WeaveTo(), Addrs: p.To}, Set{Name: p.WeaveFrom(), Addrs: p.From})
	}
	return sets
}

// WeaveTo is the set of the pods that the policy selects.
func (p Policy) WeaveTo() string { return "weave-]" + strings.ReplaceAll(p.ID(), "-", "*") + "to" }

// WeaveFrom is the set of the pods that it lets in.
func (p Policy) WeaveFrom() string { return "weave-?" + strings.ReplaceAll(p.ID(), "-", "*") + "from" }

const weaveText = `
# Traffic from and to the bridge passes the policy controller, and nothing that it did not accept reaches the bridge.
# weaveworks/weave: net/bridge.go, ConfigureIPTables.
*filter
:WEAVE-CANARY
:WEAVE-NPC
:WEAVE-NPC-EGRESS
-A INPUT -d 127.0.0.1/32 -p tcp -m tcp --dport 6784 -m addrtype ! --src-type LOCAL -m conntrack ! --ctstate RELATED,ESTABLISHED -m comment --comment "Block non-local access to Weave Net control port" -j DROP
-A INPUT -i weave -j WEAVE-NPC-EGRESS
-A FORWARD -i weave -m comment --comment "NOTE: this must go before \'-j KUBE-FORWARD\'" -j WEAVE-NPC-EGRESS
-A FORWARD -o weave -m comment --comment "NOTE: this must go before \'-j KUBE-FORWARD\'" -j WEAVE-NPC
-A FORWARD -o weave -m state --state NEW -j NFLOG --nflog-group 86
-A FORWARD -o weave -j DROP
-A FORWARD -i weave ! -o weave -j ACCEPT
-A FORWARD -o weave -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
# What leaves the pod network is masqueraded, and what comes into it; but not on the way to a pod of this node, so that
# it sees the client with externalTrafficPolicy Local. weaveworks/weave: net/expose.go, exposeNAT; net/bridge.go,
# ConfigureIPTables, with NoMasqLocal.
*nat
:WEAVE-CANARY
:WEAVE
-A POSTROUTING -j WEAVE
-A WEAVE -m set --match-set ` + weaveLocal + ` dst -m comment --comment "Prevent SNAT to locally running containers" -j RETURN
-A WEAVE -s {{.Cluster}} -d 224.0.0.0/4 -j RETURN
-A WEAVE ! -s {{.Cluster}} -d {{.Cluster}} -j MASQUERADE
-A WEAVE -s {{.Cluster}} ! -d {{.Cluster}} -j MASQUERADE
COMMIT
# Flushed tables are noticed by a chain that is gone. weaveworks/weave: net/iptables.go, Monitor.
*mangle
:WEAVE-CANARY
COMMIT
`

const weavePolicyText = `
# New connections are accepted to pods that no policy selects, and as policies say; what goes on to another node is
# that node's business. weaveworks/weave: prog/weave-npc/main.go, createBaseRules; npc/rule.go, newRuleSpec;
# npc/namespace.go, bypassRules.
*filter
:WEAVE-NPC-DEFAULT
:WEAVE-NPC-INGRESS
-A WEAVE-NPC -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC -d 224.0.0.0/4 -j ACCEPT
-A WEAVE-NPC -m physdev --physdev-out vethwe-bridge --physdev-is-bridged -j ACCEPT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-DEFAULT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-INGRESS
-A WEAVE-NPC-DEFAULT -m set --match-set ` + weaveDefault + ` dst -m comment --comment "DefaultAllow ingress isolation for namespace: shop" -j ACCEPT
{{range .Policies}}
-A WEAVE-NPC-INGRESS -p tcp -m set --match-set {{.WeaveFrom}} src -m set --match-set {{.WeaveTo}} dst -m tcp --dport {{.Port}} -m comment --comment "pods: namespace: {{.Namespace}}, selector: app=frontend -> pods: namespace: {{.Namespace}}, selector: app=database (ingress)" -j ACCEPT
{{end}}
# Egress is marked, not accepted, as the other direction may have to be asked, too. The same file and functions.
:WEAVE-NPC-EGRESS-ACCEPT
:WEAVE-NPC-EGRESS-CUSTOM
:WEAVE-NPC-EGRESS-DEFAULT
-A WEAVE-NPC-EGRESS -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC-EGRESS -m physdev --physdev-in vethwe-bridge --physdev-is-bridged -j RETURN
-A WEAVE-NPC-EGRESS -m addrtype --dst-type LOCAL -j RETURN
-A WEAVE-NPC-EGRESS -d 224.0.0.0/4 -j RETURN
-A WEAVE-NPC-EGRESS -m state --state NEW -j WEAVE-NPC-EGRESS-DEFAULT
-A WEAVE-NPC-EGRESS -m state --state NEW -m mark ! --mark 0x40000/0x40000 -j WEAVE-NPC-EGRESS-CUSTOM
-A WEAVE-NPC-EGRESS -m state --state NEW -m mark ! --mark 0x40000/0x40000 -j NFLOG --nflog-group 86
-A WEAVE-NPC-EGRESS -m mark ! --mark 0x40000/0x40000 -j DROP
-A WEAVE-NPC-EGRESS-ACCEPT -j MARK --set-xmark 0x40000/0x40000
-A WEAVE-NPC-EGRESS-DEFAULT -m set --match-set ` + weaveEgress + ` src -m comment --comment "DefaultAllow egress isolation for namespace: shop" -j WEAVE-NPC-EGRESS-ACCEPT
-A WEAVE-NPC-EGRESS-DEFAULT -m set --match-set ` + weaveEgress + ` src -m comment --comment "DefaultAllow egress isolation for namespace: shop" -j RETURN
COMMIT
`
