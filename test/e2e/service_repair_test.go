package e2e

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Somebody deletes all rules and chains of a table, and they are there again. Not beside other tests: these have the same
// rules.
func TestRulesAreMadeAgainWhenTheyWereDeleted(t *testing.T) {
	g := newGround(t, "repair")
	pods := g.serve("web", 0, 1)
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort))
	node := g.c.Nodes[2]
	all := append(s.clusterIP(), s.nodePorts(2)...)
	g.reaches(g.pod(2), all, pods...)
	for _, table := range []string{"nat", "filter"} {
		for _, family := range []string{"iptables-", "ip6tables-"} {
			tool := family + g.c.Config.Backend
			// The network plugin's rules come again, too, as its agent would see to.
			keep, err := node.Command(nil, tool+"-save", "-t", table)
			if err != nil {
				t.Fatal(err)
			}
			rest := othersRules(string(keep))
			for _, argv := range [][]string{{"-F"}, {"-X"}} {
				if _, err := node.Command(nil, append([]string{tool, "-w", "10", "-t", table}, argv...)...); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := node.Command(rest, tool+"-restore", "--noflush", "-w", "10"); err != nil {
				t.Fatal(err)
			}
		}
		g.reaches(g.pod(2), all, pods...)
		g.reaches(g.node(2), s.clusterIP(), pods...)
		g.reaches(g.outside(), s.nodePorts(2), pods...)
	}
	g.becomes("nothing is left to repair", func(ctx context.Context) error {
		difference, err := node.Proxy.Diff(ctx)
		if err == nil && difference != "" {
			err = fmt.Errorf("these would be changed:\n%s", difference)
		}
		return err
	})
}

// othersRules are those of a table that the proxy did not make, as input of iptables-restore.
func othersRules(saved string) io.Reader {
	var kept strings.Builder
	for line := range strings.Lines(saved) {
		if !strings.Contains(line, "KUBE-") || strings.HasPrefix(line, ":KUBE-IPTABLES-HINT") {
			kept.WriteString(line)
		}
	}
	return strings.NewReader(kept.String())
}
