package bed

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestDial connects to all that a client can meet: an endpoint, a Service without rules, one with an endpoint, and one
// that is rejected.
func TestDial(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces: make test")
	}
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			if _, err := exec.LookPath("iptables-" + backend); err != nil {
				t.Skipf("no iptables-%s here: make test installs it", backend)
			}
			b := testBed(t, backend)
			for name, c := range map[string]struct{ to, by string }{
				"an endpoint":                {"10.128.0.7:8080", "10.128.0.7:8080"},
				"a Service without rules":    {"10.96.0.1:80", ""},
				"a Service with an endpoint": {"10.96.0.2:80", "10.128.0.9:8080"},
				"a Service that is rejected": {"10.96.0.3:80", ""},
			} {
				for range 20 { // a message can arrive while connect is at work, or after it
					begin := time.Now()
					reply, err := b.Dial(netip.MustParseAddrPort(c.to))
					if took := time.Since(begin); took > Patience/2 {
						t.Errorf("%s: known after %s", name, took)
					}
					if got := reply.By; (err == nil) != (c.by != "") || err == nil && got.String() != c.by {
						t.Errorf("%s: answered by %s, %v; want %q", name, got, err, c.by)
					}
				}
			}
			if rules, err := b.Rules(); err != nil || rules != 2 {
				t.Errorf("%d rules, %v; want 2", rules, err)
			}
			if g := b.Generation(); backend == "nft" && g < 2 {
				t.Errorf("generation %d after two changes", g)
			}
		})
	}
}

func testBed(t *testing.T, backend string) *Bed {
	t.Helper()
	b, err := New(Config{
		NodeIP: netip.MustParseAddr("172.18.0.2"), Services: netip.MustParsePrefix("10.96.0.0/12"),
		Endpoints: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/9")}, Client: netip.MustParseAddr("10.255.255.2"),
		Ports: []uint16{8080}, Backend: backend,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	for _, rule := range [][]string{
		{"-t", "nat", "-A", "PREROUTING", "-d", "10.96.0.2", "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", "10.128.0.9:8080"},
		{"-t", "filter", "-A", "FORWARD", "-d", "10.96.0.3", "-j", "REJECT"},
	} {
		if err := b.Iptables(t.Context(), rule...); err != nil {
			t.Fatal(err)
		}
	}
	return b
}
