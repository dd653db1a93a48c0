package plugins

import (
	"fmt"
	"strings"

	"espalier/proxier/ipproto"
)

// Firewalld is firewalld 1.x with FirewallBackend=iptables, the uplink in the zone public with the ports that Kubernetes
// and the network plugin ask for, and the networks of pods and services in the zone trusted, as distributions of
// Kubernetes ask for (k3s-io/docs: docs/installation/requirements.md; rke2 the same).
//
// A reload sets the policies of the filter table to DROP, empties all tables with all that others put there, writes
// its own, and sets the policies back (firewalld/firewalld: src/firewall/core/fw.py, reload; ipXtables.py,
// build_flush_rules, build_set_policy_rules).
func Firewalld() Plugin {
	return Plugin{Name: "firewalld", Families: ipproto.Families[:], text: firewalldText, alone: true}
}

// reload empties all tables, of everybody's rules, and writes those of the plugin.
func (k kernel) reload(r Rules) error {
	filter := []string{"INPUT", "FORWARD", "OUTPUT"}
	for _, chain := range filter {
		if err := k.iptables("-P", chain, "DROP"); err != nil {
			return fmt.Errorf("drop by default: %w", err)
		}
	}
	var empty strings.Builder // in one go, as with IndividualCalls=no, the default
	for _, table := range []string{"security", "raw", "mangle", "nat", "filter"} {
		empty.WriteString("*" + table + "\n-F\n-X\n-Z\nCOMMIT\n")
	}
	if err := k.restore(empty.String()); err != nil {
		return fmt.Errorf("empty all tables: %w", err)
	}
	if err := k.write(r, appendMissing); err != nil {
		return err
	}
	for _, chain := range filter {
		if err := k.iptables("-P", chain, "ACCEPT"); err != nil {
			return fmt.Errorf("accept by default: %w", err)
		}
	}
	return nil
}

// Zones are those in use, each with what becomes of what it neither allows nor denies.
func (v view) Zones() []zone {
	return []zone{{"public", "REJECT --reject-with " + v.unreachable("port-unreachable")}, {"trusted", "ACCEPT"}}
}

type zone struct{ Name, Target string }

// Prohibited is how firewalld rejects.
func (v view) Prohibited() string {
	if v.V6 {
		return "icmp6-adm-prohibited"
	}
	return "icmp-host-prohibited"
}

func (v view) unreachable(what string) string {
	if v.V6 {
		return "icmp6-" + what
	}
	return "icmp-" + what
}

// ICMP is the protocol's name.
func (v view) ICMP() string {
	if v.V6 {
		return "ipv6-icmp"
	}
	return "icmp"
}

const firewalldText = `
# Each hook of each table has a chain for the user's direct rules, and one that finds the zone: by source address first,
# then by interface, then the default zone. firewalld/firewalld: src/firewall/core/ipXtables.py, build_default_rules,
# build_zone_source_address_rules, build_zone_source_interface_rules, build_policy_chain_rules.
*security
:INPUT_direct
:FORWARD_direct
:OUTPUT_direct
-A INPUT -j INPUT_direct
-A FORWARD -j FORWARD_direct
-A OUTPUT -j OUTPUT_direct
COMMIT
{{define "policy"}}
:{{.}}
:{{.}}_pre
:{{.}}_log
:{{.}}_deny
:{{.}}_allow
:{{.}}_post
{{end}}
{{define "walk"}}
-A {{.}} -j {{.}}_pre
-A {{.}} -j {{.}}_log
-A {{.}} -j {{.}}_deny
-A {{.}} -j {{.}}_allow
{{end}}
{{define "prerouting"}}
:PREROUTING_direct
:PREROUTING_POLICIES_pre
:PREROUTING_ZONES
:PREROUTING_POLICIES_post
-A PREROUTING -j PREROUTING_direct
-A PREROUTING -j PREROUTING_ZONES
{{range .Zones}}{{$c := print "PRE_" .Name}}
{{template "policy" $c}}
-A {{$c}} -j PREROUTING_POLICIES_pre
{{template "walk" $c}}
-A {{$c}} -j {{$c}}_post
-A {{$c}} -j PREROUTING_POLICIES_post
{{end}}
-A PREROUTING_ZONES -s {{.Cluster}} -g PRE_trusted
-A PREROUTING_ZONES -s {{.Services}} -g PRE_trusted
-A PREROUTING_ZONES -i {{.Uplink}} -g PRE_public
-A PREROUTING_ZONES -g PRE_public
{{end}}
*raw
{{template "prerouting" .}}
:OUTPUT_direct
-A OUTPUT -j OUTPUT_direct
COMMIT
# With IPv6_rpfilter=yes, the default. The same file, ip6tables.build_rpfilter_rules.
*mangle
{{if .V6}}
-A PREROUTING -p ipv6-icmp -m icmp6 --icmpv6-type 134 -j ACCEPT
-A PREROUTING -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT
-A PREROUTING -m rpfilter --validmark --invert -j DROP
{{end}}
{{template "prerouting" .}}
:INPUT_direct
:FORWARD_direct
:OUTPUT_direct
:POSTROUTING_direct
-A INPUT -j INPUT_direct
-A FORWARD -j FORWARD_direct
-A OUTPUT -j OUTPUT_direct
-A POSTROUTING -j POSTROUTING_direct
COMMIT
*nat
{{template "prerouting" .}}
:INPUT_direct
:OUTPUT_direct
:POSTROUTING_direct
:POSTROUTING_POLICIES_pre
:POSTROUTING_ZONES
:POSTROUTING_POLICIES_post
-A INPUT -j INPUT_direct
-A OUTPUT -j OUTPUT_direct
-A POSTROUTING -j POSTROUTING_direct
-A POSTROUTING -j POSTROUTING_ZONES
{{range .Zones}}{{$c := print "POST_" .Name}}
{{template "policy" $c}}
-A {{$c}} -j POSTROUTING_POLICIES_pre
{{template "walk" $c}}
-A {{$c}} -j {{$c}}_post
-A {{$c}} -j POSTROUTING_POLICIES_post
{{end}}
-A POSTROUTING_ZONES -d {{.Cluster}} -g POST_trusted
-A POSTROUTING_ZONES -d {{.Services}} -g POST_trusted
-A POSTROUTING_ZONES -o {{.Uplink}} -g POST_public
-A POSTROUTING_ZONES -g POST_public
COMMIT
# What was translated is accepted; whatever no zone accepts is rejected at the end.
*filter
:INPUT_direct
:INPUT_POLICIES_pre
:INPUT_ZONES
:INPUT_POLICIES_post
:FORWARD_direct
:FORWARD_POLICIES_pre
:FORWARD_ZONES
:FORWARD_POLICIES_post
:OUTPUT_direct
:OUTPUT_POLICIES_pre
:OUTPUT_POLICIES_post
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -j INPUT_direct
-A INPUT -j INPUT_ZONES
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -j REJECT --reject-with {{.Prohibited}}
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A FORWARD -i lo -j ACCEPT
-A FORWARD -j FORWARD_direct
-A FORWARD -j FORWARD_ZONES
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -j REJECT --reject-with {{.Prohibited}}
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -j OUTPUT_direct
-A OUTPUT -j OUTPUT_POLICIES_pre
-A OUTPUT -j OUTPUT_POLICIES_post
{{$v := .}}
{{range .Zones}}{{$in := print "IN_" .Name}}{{$fwd := print "FWD_" .Name}}
{{template "policy" $in}}
-A {{$in}} -j INPUT_POLICIES_pre
{{template "walk" $in}}
{{if eq .Name "public"}}-A {{$in}} -p {{$v.ICMP}} -j ACCEPT{{end}}
-A {{$in}} -j {{$in}}_post
-A {{$in}} -j INPUT_POLICIES_post
-A {{$in}} -j {{.Target}}
{{template "policy" $fwd}}
-A {{$fwd}} -j FORWARD_POLICIES_pre
{{template "walk" $fwd}}
{{if eq .Name "public"}}-A {{$fwd}} -p {{$v.ICMP}} -j ACCEPT{{end}}
-A {{$fwd}} -j {{$fwd}}_post
-A {{$fwd}} -j FORWARD_POLICIES_post
-A {{$fwd}} -j {{.Target}}
{{end}}
-A INPUT_ZONES -s {{.Cluster}} -g IN_trusted
-A INPUT_ZONES -s {{.Services}} -g IN_trusted
-A INPUT_ZONES -i {{.Uplink}} -g IN_public
-A INPUT_ZONES -g IN_public
-A FORWARD_ZONES -s {{.Cluster}} -g FWD_trusted
-A FORWARD_ZONES -s {{.Services}} -g FWD_trusted
-A FORWARD_ZONES -i {{.Uplink}} -g FWD_public
-A FORWARD_ZONES -g FWD_public
# The ports that are opened: ssh, the kubelet, VXLAN of the network plugin, node ports. kubernetes/website:
# content/en/docs/reference/networking/ports-and-protocols.md; flannel-io/flannel: Documentation/troubleshooting.md.
-A IN_public_allow -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
-A IN_public_allow -p tcp -m tcp --dport 10250 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
-A IN_public_allow -p tcp -m tcp --dport 30000:32767 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
-A IN_public_allow -p udp -m udp --dport 8472 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
{{if .V6}}-A IN_public_allow -d fe80::/64 -p udp -m udp --dport 546 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT{{end}}
COMMIT
`
