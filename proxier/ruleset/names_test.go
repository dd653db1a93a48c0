package ruleset_test

import (
	"testing"

	"espalier/proxier/ruleset"
)

// The names that kube-proxy gives; those of k/k's pkg/proxy/iptables/proxier_test.go among them.
func TestHash(t *testing.T) {
	for want, parts := range map[string][]string{
		"XPGD46QRK7WJZT7O": {"ns1/svc1:p80", "tcp"},
		"SXIVWICOYRO3J4NJ": {"ns1/svc1:p80", "tcp", "10.180.0.1:80"},
		"NPX46M4PTMTKRN6Y": {"default/kubernetes:https", "tcp"},
		"TCOU7JCQXEZGVUNU": {"kube-system/kube-dns:dns", "udp"},
		"GNZBNJ2PO5MGZ6GT": {"ns2/svc2:p80tcp"},
		"AQI2S6QIMU7PVVRP": {"ns1/svc1", "tcp"},
		"GFCIFIA5VTFSTMSM": {"ns1/svc1:p80", "sctp"},
		"OGYCNMB4EMRUSJ6N": {"ns1/svc1:p80", "tcp", "[fd00:10:180::1]:80"},
	} {
		if got := ruleset.Hash(parts...); got != want {
			t.Errorf("Hash(%q) = %s, want %s", parts, got, want)
		}
	}
}

func TestOwned(t *testing.T) {
	type in struct {
		table ruleset.Table
		name  string
	}
	for c, want := range map[in]bool{
		{ruleset.Nat, "KUBE-SERVICES"}:             true,
		{ruleset.Filter, "KUBE-SERVICES"}:          true,
		{ruleset.Mangle, "KUBE-SERVICES"}:          false,
		{ruleset.Nat, "KUBE-POSTROUTING"}:          true,
		{ruleset.Filter, "KUBE-POSTROUTING"}:       false,
		{ruleset.Filter, "KUBE-EXTERNAL-SERVICES"}: true,
		{ruleset.Nat, "KUBE-EXTERNAL-SERVICES"}:    false,
		{ruleset.Filter, "KUBE-FIREWALL"}:          true,
		{ruleset.Nat, "KUBE-FIREWALL"}:             false,
		{ruleset.Nat, "KUBE-FW-ABC"}:               true,
		{ruleset.Filter, "KUBE-SVC-ABC"}:           true,
		{ruleset.Mangle, "KUBE-SVC-ABC"}:           false,
		{ruleset.Nat, "KUBE-SVCX"}:                 false,
		{ruleset.Nat, "KUBE-MARK-DROP"}:            false,
		{ruleset.Nat, "KUBE-PROXY-CANARY"}:         false,
		{ruleset.Nat, "PREROUTING"}:                false,
		{ruleset.Filter, "KUBE-ROUTER-FORWARD"}:    false,
	} {
		if got := ruleset.Owned(ruleset.Chain{Table: c.table, Name: c.name}); got != want {
			t.Errorf("Owned(%v/%s) = %t, want %t", c.table, c.name, got, want)
		}
	}
}

// A packet on a clean node meets the jumps in the reverse order of their insertion.
func TestJumpsStandInTheOrderOfKubeProxy(t *testing.T) {
	got := map[string][]string{}
	for _, j := range ruleset.Jumps() {
		key := j.From.String()
		got[key] = append([]string{j.To}, got[key]...)
		if j.Rule.Jump != j.To {
			t.Errorf("jump from %v to %s has the rule %+v", j.From, j.To, j.Rule)
		}
	}
	want := map[string][]string{
		"filter/INPUT":    {"KUBE-FIREWALL", "KUBE-PROXY-FIREWALL", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"},
		"filter/FORWARD":  {"KUBE-PROXY-FIREWALL", "KUBE-FORWARD", "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"},
		"filter/OUTPUT":   {"KUBE-FIREWALL", "KUBE-PROXY-FIREWALL", "KUBE-SERVICES"},
		"nat/PREROUTING":  {"KUBE-SERVICES"},
		"nat/OUTPUT":      {"KUBE-SERVICES"},
		"nat/POSTROUTING": {"KUBE-POSTROUTING"},
	}
	if diff := diffOf(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
