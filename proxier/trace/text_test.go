package trace

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

func TestPathText(t *testing.T) {
	r, err := Walk(Attach(reference()), node, own("192.168.0.2", "192.168.99.22:80"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimPrefix(`
nat     OUTPUT 1                  -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
nat       KUBE-SERVICES 3         -d 192.168.99.22 -p tcp -m tcp --dport 80 -j KUBE-EXT-2
nat         KUBE-EXT-2 2          -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
nat           KUBE-MARK-MASQ 1    -j MARK --or-mark 0x00004000
nat         KUBE-EXT-2 3          -m addrtype --src-type LOCAL -j KUBE-SVC-2
nat           KUBE-SVC-2 1        ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ
nat             KUBE-MARK-MASQ 1  -j MARK --or-mark 0x00004000
nat           KUBE-SVC-2 2        -j KUBE-SEP-2
nat             KUBE-SEP-2 2      -p tcp -j DNAT --to-destination 10.180.0.2:80
filter  OUTPUT 1                  -j KUBE-FIREWALL
filter  OUTPUT 2                  -m comment --comment "kubernetes load balancer firewall" -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
filter  OUTPUT 3                  -m comment --comment "kubernetes service portals" -m conntrack --ctstate NEW -j KUBE-SERVICES
nat     POSTROUTING 1             -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
nat       KUBE-POSTROUTING 2      -j MARK --xor-mark 0x00004000
nat       KUBE-POSTROUTING 3      -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
`, "\n")
	got := r.Outcomes[0].Paths[0].Text(ipproto.IPv4)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPolicyText(t *testing.T) {
	s := Step{Chain: filter("FORWARD"), Index: -1, Rule: ruleset.Rule{Jump: ruleset.Drop}}
	if got, want := s.Text(ipproto.IPv4), "filter  FORWARD policy  -j DROP"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
