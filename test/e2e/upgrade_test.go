package e2e

import (
	"strings"
	"testing"

	"espalier/test/e2e/cluster"
	"espalier/test/e2e/controlplane"
)

// The proxy is restarted on all nodes while connections are made: none is lost, and no rule is written.
func TestARestartIsNotNoticed(t *testing.T) {
	c := theClusterFor(t)
	g := gather(t, c, deployEchoes(t, c, "restart"), c.Nodes...)
	for _, n := range c.Nodes {
		if err := n.Proxy.Restart(patient(t)); err != nil {
			t.Fatal(err)
		}
		g.flow("after a restart")
		for _, family := range []string{"IPv4", "IPv6"} {
			commits, err := n.Proxy.Metric(patient(t), "espalier_commits_total", family)
			if err != nil {
				t.Fatal(err)
			}
			if commits != 0 {
				t.Errorf("%s: after a restart with the right rules there were %v COMMITs of %s, want none", n.Name, commits, family)
			}
		}
	}
	g.disperse()
}

// Another version takes over on all nodes, and the old one again.
func TestAnUpgradeIsNotNoticed(t *testing.T) {
	c := theClusterFor(t)
	program, err := controlplane.Binary("espalier-next")
	if err != nil {
		t.Fatal(err)
	}
	g := gather(t, c, deployEchoes(t, c, "upgrade"), c.Nodes...)
	for _, w := range []*cluster.Workload{c.Config.Proxy.WithProgram(program), c.Config.Proxy} {
		for _, n := range c.Nodes {
			if err := n.Proxy.Replace(patient(t), w); err != nil {
				t.Fatal(err)
			}
			g.flow("after the change to " + w.Program)
		}
		if log := c.Nodes[0].Proxy.Log.Tail(200); w != c.Config.Proxy && !strings.Contains(log, "v9.9.9") {
			t.Errorf("the new version does not say that it is v9.9.9:\n%s", log)
		}
	}
	g.disperse()
}
