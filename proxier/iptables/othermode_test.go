package iptables_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/iptables"
)

func TestTablesOfNFTablesModeAreRemoved(t *testing.T) {
	enterNamespace(t)
	feed(t, `
add table ip kube-proxy
add chain ip kube-proxy services { type nat hook prerouting priority -100; }
add rule ip kube-proxy services ip daddr 10.96.0.1 dnat to 10.0.0.1
add table ip6 kube-proxy
add set ip6 kube-proxy s { type ipv6_addr; }
add table inet kube-proxy
add table ip kube-proxy-too
`, "nft", "-f", "-")
	removed, err := iptables.RemoveNFTablesMode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ip kube-proxy", "ip6 kube-proxy"}, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	want := "table inet kube-proxy\ntable ip kube-proxy-too\n"
	if diff := cmp.Diff(want, run(t, "nft", "list", "tables")); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if removed, err := iptables.RemoveNFTablesMode(t.Context()); err != nil || len(removed) > 0 {
		t.Errorf("the second time: removed %q, error %v; want nothing", removed, err)
	}
}

func TestWithoutNFTThereAreNoTablesOfItsMode(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if removed, err := iptables.RemoveNFTablesMode(t.Context()); err != nil || len(removed) > 0 {
		t.Errorf("removed %q, error %v; want nothing", strings.Join(removed, ", "), err)
	}
}
