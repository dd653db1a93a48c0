package recorded

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/test/bench/bed"
	"espalier/watcher/kube/kubetest"
)

var (
	program  = flag.String("record", "", "record the rules of this kube-proxy; see the package's doc")
	services = flag.Int("services", 0, "record the cluster of this size only")
)

// TestRecord records the rules of every size on both backends, and keeps them if both are the same.
func TestRecord(t *testing.T) {
	if *program == "" {
		t.Skip("records only with -record /path/of/kube-proxy")
	}
	for _, size := range Sizes() {
		if *services != 0 && *services != size {
			continue
		}
		legacy, nft := record(t, "legacy", size), record(t, "nft", size)
		for _, f := range ipproto.Families {
			if diff := cmp.Diff(strings.Split(string(legacy[f]), "\n"), strings.Split(string(nft[f]), "\n")); diff != "" {
				t.Fatalf("%d Services, %s: the backends print different rules (-legacy +nft):\n%s", size, f, diff)
			}
			if listen(speak(nft[f], size, f), size, f) != nft[f] {
				t.Fatalf("%d Services, %s: the rules are kept as others", size, f)
			}
			zipped := zip(t, speak(nft[f], size, f))
			if err := os.WriteFile(path(size, f), zipped, 0o644); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d Services, %s: %d rules, %d bytes, %d compressed", size, f, strings.Count(string(nft[f]), "\n-A "), len(nft[f]), len(zipped))
		}
	}
}

// zip compresses text as Read expects it, which the standard library cannot.
func zip(t *testing.T, text string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bzip2", "--best")
	cmd.Stdin = strings.NewReader(text)
	zipped, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return zipped
}

// record lets kube-proxy write its rules, and returns them.
func record(t *testing.T, backend string, size int) map[ipproto.Family]Rules {
	t.Helper()
	b, err := bed.New(bed.Config{
		NodeIP: NodeIP(ipproto.IPv4), Services: netip.MustParsePrefix("172.30.0.0/16"), Client: netip.MustParseAddr("10.0.0.2"),
		Ports: []uint16{8080}, Backend: backend,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	n := node{b, t.TempDir()}
	server := kubetest.New()
	server.Apply(Objects(Cluster(size))...)
	kubeconfig, err := b.ServeAPI(server)
	if err != nil {
		t.Fatal(err)
	}
	n.kubelet(t)
	begin := time.Now()
	p, err := b.Start([]string{
		*program, "--kubeconfig", kubeconfig, "--hostname-override", NodeName, "--cluster-cidr", ClusterCIDR, "--proxy-mode", "iptables",
		"--conntrack-max-per-core", "0", "--healthz-bind-address", "127.0.0.1:10256", "-v", "2",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	rules := map[ipproto.Family]Rules{}
	for settled := false; !settled; {
		time.Sleep(3 * time.Second) // to find that nothing changes any more
		if err := p.Running(); err != nil {
			t.Fatal(err)
		}
		settled = true
		for _, f := range ipproto.Families {
			now := n.saved(t, f)
			settled = settled && now == rules[f] && strings.Contains(string(now), "this must be the last rule in this chain")
			if now != rules[f] {
				t.Logf("%s, %d Services, %s: %d rules after %s", backend, size, f, strings.Count(string(now), "\n-A "), time.Since(begin).Round(time.Second))
			}
			rules[f] = now
		}
	}
	return rules
}

// node is the one that kube-proxy runs on.
type node struct {
	bed *bed.Bed
	dir string // for files
}

// saved returns the rules that are there.
func (n node) saved(t *testing.T, f ipproto.Family) Rules {
	t.Helper()
	text, err := canonical(n.shell(t, tool(f)+"-save", ""))
	if err != nil {
		t.Fatal(err)
	}
	return Rules(text)
}

// tool is iptables of a family.
func tool(f ipproto.Family) string {
	if f == ipproto.IPv6 {
		return "ip6tables"
	}
	return "iptables"
}

// kubelet writes what a kubelet of this version writes at its start (pkg/kubelet/kubelet_network_linux.go).
func (n node) kubelet(t *testing.T) {
	t.Helper()
	const canaries = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n" +
		"*nat\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n*filter\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
	const firewall = "*filter\n:KUBE-FIREWALL - [0:0]\n-I OUTPUT -j KUBE-FIREWALL\n-I INPUT -j KUBE-FIREWALL\n" +
		`-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 ` +
		"-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\nCOMMIT\n"
	n.shell(t, "iptables-restore --noflush", canaries+firewall)
	n.shell(t, "ip6tables-restore --noflush", canaries)
}

// shell runs a command line on the node, and returns what it prints.
func (n node) shell(t *testing.T, line, stdin string) string {
	t.Helper()
	in, out, ok := filepath.Join(n.dir, "in"), filepath.Join(n.dir, "out"), filepath.Join(n.dir, "ok")
	if err := os.WriteFile(in, []byte(stdin), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(ok)
	p, err := n.bed.Start([]string{"sh", "-c", line + ` <"$1" >"$2" && touch "$3"`, "sh", in, out, ok})
	if err != nil {
		t.Fatal(err)
	}
	for p.Running() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	if _, err := os.Stat(ok); err != nil {
		t.Fatalf("%s: %v", line, p.Running())
	}
	p.Stop()
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
