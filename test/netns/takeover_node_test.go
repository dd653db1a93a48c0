package netns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/nfacct"
	"espalier/proxier/ruleset"
	"espalier/test/netns/lab"
	"espalier/test/recorded"
	"espalier/watcher/kube/kubetest"
)

// inherited is a node on which kube-proxy was before us. It has both families, and an API server on its loopback.
type inherited struct {
	*site        // of IPv4; the program that runs is here
	six   *site  // the same node, seen as one of IPv6
	size  int    // of the cluster, in Services
	api   string // the path of a kubeconfig
	tools string // a directory in which iptables is of the wanted backend

	left   map[ipproto.Family]recorded.Rules  // by kube-proxy
	values map[ipproto.Family]ruleset.Saved   // the same
	clean  map[ipproto.Family]ruleset.Ruleset // ours, after a start on a node without rules
	rest   map[ipproto.Family]ruleset.Ruleset // is to stay
}

// families are the node as one of each family.
func (n *inherited) families() []*site { return []*site{n.site, n.six} }

// inherit builds the node. There are no rules on it yet.
func inherit(t *testing.T, b iptables.Backend, size int, path string) *inherited {
	t.Helper()
	four := newSite(t, b, path)
	joined, err := four.Join(labConfig(ipproto.IPv6))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(joined.Close) // before that of four
	n := &inherited{
		site: four, size: size, tools: t.TempDir(), api: filepath.Join(t.TempDir(), "kubeconfig"),
		six:  &site{Lab: joined, backend: b, dir: four.dir},
		left: map[ipproto.Family]recorded.Rules{}, values: map[ipproto.Family]ruleset.Saved{}, clean: map[ipproto.Family]ruleset.Ruleset{}, rest: map[ipproto.Family]ruleset.Ruleset{},
	}
	if n.six.kernel, err = iptables.Open(t.Context(), ipproto.IPv6, b); err != nil {
		t.Fatal(err)
	}
	n.serve(t)
	n.linkTools(t)
	counters := n.haveCounters()
	for _, s := range n.families() {
		s.pace = 10 * time.Millisecond
		if size > 1000 { // a connection through so many rules takes milliseconds of a processor
			s.pace, s.few = 250*time.Millisecond, 5
		}
		rules, err := recorded.Read(size, s.Family)
		if err != nil {
			t.Fatal(err)
		}
		if !counters {
			rules = rules.WithoutCounters()
		}
		n.left[s.Family] = rules
		if n.values[s.Family], err = ruleset.Parse(strings.NewReader(string(rules))); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// serve starts the API server of the cluster.
func (n *inherited) serve(t *testing.T) {
	t.Helper()
	var server *kubetest.Server
	err := n.Host(lab.Node).Do(func() error { // the socket belongs to the namespace of the thread
		server = kubetest.Start()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	t.Cleanup(func() { // before the server, which waits for its clients
		if n.running != nil {
			n.stop(t)
		}
	})
	server.Apply(recorded.Objects(recorded.Cluster(n.size))...)
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"+
		"clusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {}}]\n", server.URL)
	if err := os.WriteFile(n.api, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// linkTools makes iptables of the wanted backend what programs on the node call iptables.
func (n *inherited) linkTools(t *testing.T) {
	t.Helper()
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, action := range []string{"", "-save", "-restore"} {
			tool, err := exec.LookPath(name + "-" + n.backend.String() + action)
			if err != nil {
				cannot(t, err.Error())
			}
			// The tools look at the name by which they are called, so the link must not lead to another link.
			if tool, err = filepath.EvalSymlinks(tool); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(tool, filepath.Join(n.tools, name+action)); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.env = []string{"PATH=" + n.tools + ":" + os.Getenv("PATH")}
}

// haveCounters makes the counters that kube-proxy's rules name, and reports whether the kernel has such.
func (n *inherited) haveCounters() bool {
	return n.Host(lab.Node).Do(func() error {
		for _, name := range []string{recorded.InvalidCounter, recorded.LocalhostCounter} {
			if err := nfacct.Ensure(name); err != nil {
				return err
			}
		}
		return nil
	}) == nil
}

// takeOver starts espalier and waits until it has synced both families.
func (n *inherited) takeOver(t *testing.T) {
	t.Helper()
	n.exec(t, n.program, "run", "--kubeconfig", n.api, "--hostname-override", recorded.NodeName, "--cluster-cidr", recorded.ClusterCIDR,
		"--iptables-backend", n.backend.String(), "-v", "2", "--conntrack-max-per-core", "0")
	n.awaitSynced(t, `"Synced" family="ipv4"`, `"Synced" family="ipv6"`)
}

// awaitSynced waits for texts in the log of a program that has much to write.
func (n *inherited) awaitSynced(t *testing.T, texts ...string) {
	t.Helper()
	n.eventually(t, 10*time.Minute, func() string { return n.missingInLog(texts...) })
}

// restore gives text to iptables-restore. It reads a file and not a pipe: the legacy one never cancels the alarm that ends its
// wait for the lock, and takes it for the end of the text if it has to wait for more of that.
func (s *site) restore(text []byte, args ...string) error {
	file, err := os.CreateTemp(s.dir, "rules-*")
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(text); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = s.Host(lab.Node).Command(file, append([]string{s.kernel.RestoreCommand, "-w", "60"}, args...)...)
	return err
}

// both does something for both families at once.
func (n *inherited) both(t *testing.T, do func(*site) error) {
	t.Helper()
	var group errgroup.Group
	for _, s := range n.families() {
		group.Go(func() error { return do(s) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// empty removes all rules.
func (n *inherited) empty(t *testing.T) {
	t.Helper()
	n.both(t, func(s *site) error { return s.restore([]byte("*mangle\nCOMMIT\n*nat\nCOMMIT\n*filter\nCOMMIT\n")) })
}

// load brings what kube-proxy left into the kernel, and rules of others.
func (n *inherited) load(t *testing.T) {
	t.Helper()
	chains := 0
	if n.backend == iptables.NFT {
		chains = 600 // of 35,000; with 200 or 3,000 it takes longer
	}
	n.both(t, func(s *site) error {
		text, err := n.left[s.Family].Input(chains)
		if err != nil {
			return err
		}
		return errors.Join(s.restore(text, "--noflush"), s.restore([]byte(othersRules), "--noflush"))
	})
	for _, s := range n.families() {
		saved := s.saved(t)
		n.rest[s.Family] = rest(saved.Rules)
		if !sameRules(saved.Owned(), n.values[s.Family].Owned()) {
			t.Fatalf("%s: the kernel does not hold what was recorded", s.Family)
		}
	}
}

// othersRules are what a network plugin and a container runtime could have put there, in front of kube-proxy's jumps and
// behind them.
const othersRules = `*filter
:DOCKER-USER - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
-A DOCKER-USER -i nothing0 -j DROP
-A KUBE-ROUTER-INPUT -p tcp -m tcp --dport 9 -j DROP
-I FORWARD 1 -j DOCKER-USER
-A FORWARD -o nothing0 -m comment --comment "of a plugin" -j ACCEPT
-A INPUT -j KUBE-ROUTER-INPUT
COMMIT
*nat
:CNI-HOSTPORT-DNAT - [0:0]
-A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 9 -j RETURN
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -o nothing0 -m comment --comment "of a plugin" -j MASQUERADE --random-fully
COMMIT
*mangle
:OF-A-PLUGIN - [0:0]
-A OF-A-PLUGIN -j RETURN
-A PREROUTING -i nothing0 -j OF-A-PLUGIN
COMMIT
`
