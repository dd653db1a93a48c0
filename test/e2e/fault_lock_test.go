package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"espalier/test/e2e/cluster"
)

// Somebody holds the lock of legacy iptables for 30 seconds, while a Service is made. With the legacy backend its rules come
// when the lock is free, and not before; nft has no lock. Nothing else is held up, and no process ends.
func TestTheLockIsHeldForThirtySeconds(t *testing.T) {
	c := theClusterFor(t)
	service := deployEchoes(t, c, "locked")
	g := gather(t, c, service, c.Nodes...)
	before := exits(c)
	release := lock(t)
	over := time.After(30 * time.Second)
	to := deployAnother(t, c, service.Namespace, "waits")
	if c.Config.Backend == "nft" {
		mustAnswer(t, c, to)
	}
	<-over
	g.flow("after the lock was held for half a minute")
	for _, n := range c.Nodes {
		if c.Config.Backend == "legacy" && strings.Contains(natOf(t, c, n), to.Addr().String()+"/32") {
			t.Errorf("rules for %s were written on %s although somebody held the lock", to.Addr(), n.Name)
		}
		if err := n.Proxy.AwaitProbe(patient(t), "/livez"); err != nil {
			t.Error(err)
		}
	}
	release()
	mustAnswer(t, c, to)
	g.disperse()
	if after := exits(c); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("proxies have ended: %v times, before %v", after, before)
	}
}

// lock takes the lock of iptables, as iptables does.
func lock(t *testing.T) (release func()) {
	t.Helper()
	file, err := os.OpenFile(cluster.LockFile, os.O_RDWR, 0)
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
