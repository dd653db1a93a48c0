package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"espalier/test/e2e/cluster"
)

// Somebody holds the lock of legacy iptables on a node for 30 seconds, while a Service is made. With the legacy backend its
// rules come when the lock is free, and not before; nft has no lock. Nothing else is held up, and the process lives.
func TestTheLockIsHeldForThirtySeconds(t *testing.T) {
	c := theClusterFor(t)
	service := deployEchoes(t, c, "locked")
	g := gather(t, c, service, c.Nodes[0])
	before := exits(c)
	node := c.Nodes[0]
	release := lock(t, node)
	half := time.After(30 * time.Second)
	to := deployAnother(t, c, service.Namespace, "waits")
	for _, n := range c.Nodes {
		if n != node || c.Config.Backend == "nft" {
			mustAnswerOn(t, n, to)
		}
	}
	g.flow("while the lock is held")
	<-half
	if c.Config.Backend == "legacy" && strings.Contains(natOf(t, c, node), to.Addr().String()+"/32") {
		t.Errorf("rules for %s were written on %s although somebody held the lock", to.Addr(), node.Name)
	}
	if err := node.Proxy.AwaitProbe(patient(t), "/livez"); err != nil {
		t.Error(err)
	}
	release()
	mustAnswerOn(t, node, to)
	g.disperse()
	if after := exits(c); after[0] != before[0] {
		t.Errorf("the proxy has ended: %v", node.Proxy.Exits())
	}
}

// lock takes the lock of iptables on a node, as iptables does.
func lock(t *testing.T, n *cluster.Node) (release func()) {
	t.Helper()
	file, err := os.OpenFile(n.LockFile(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	release = func() { _ = file.Close() } // the second time, nothing
	t.Cleanup(release)
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return release
}
