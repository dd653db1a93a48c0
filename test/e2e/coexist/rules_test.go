package coexist

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
	"espalier/test/e2e/cluster"
	"espalier/test/e2e/plugins"
	"espalier/test/netns/lab"
)

// jumps are the proxy's rules in built-in chains, as iptables-save prints them, but for those to KUBE-FIREWALL, which
// are the kubelet's, too.
func jumps(f ipproto.Family) map[plugins.Chain][]string {
	all := map[plugins.Chain][]string{}
	for _, j := range ruleset.Jumps() {
		if j.To != ruleset.Firewall {
			from := plugins.Chain{Table: j.From.Table.String(), Name: j.From.Name}
			all[from] = append(all[from], string(j.Append(nil, f)))
		}
	}
	return all
}

// theirs is what stands in the tables of a node that is not the proxy's alone: the chains of others, and the built-in
// ones, with its jumps or without them.
func (n *neighbours) theirs(t *testing.T, ns *lab.Namespace, f ipproto.Family, withJumps bool) plugins.Saved {
	t.Helper()
	saved, err := plugins.Save(ns, f, n.backend)
	if err != nil {
		t.Fatal(err)
	}
	ours := jumps(f)
	for c, rules := range saved {
		table, known := tables[c.Table]
		if known && ruleset.Owned(ruleset.Chain{Table: table, Name: c.Name}) {
			delete(saved, c)
			continue
		}
		if !withJumps {
			rules = slices.DeleteFunc(rules, func(r string) bool {
				return slices.Contains(ours[c], r) || r == "-j "+ruleset.Firewall
			})
			saved[c] = rules
		}
		if slices.Equal(rules, []string{"policy ACCEPT"}) {
			delete(saved, c) // it may be that the table is not there yet
		}
	}
	return saved
}

var tables = map[string]ruleset.Table{ruleset.Filter.String(): ruleset.Filter, ruleset.Nat.String(): ruleset.Nat}

// compareTheirs checks that the rules of all plugins are those of the twin, where nobody does anything but they: the
// same, and in the same order; and that their order among the jumps of the proxy is the one that comes of itself there.
func (n *neighbours) compareTheirs(t *testing.T, when string) {
	t.Helper()
	for _, node := range n.nodes {
		for _, f := range ipproto.Families {
			want, got := n.theirs(t, node.twin, f, !n.flushes), n.theirs(t, node.Namespace, f, !n.flushes)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %v rules of others on %s (-without the proxy's doing +with it):\n%s", when, f, node.Name, diff)
			}
		}
	}
}

// guards reports whether the network plugin's rules stand in front of KUBE-FORWARD on a node with kube-proxy. Else what
// the proxy has marked for masquerading, as traffic from outside is, is accepted before the plugin sees it.
func (n *neighbours) guards(t *testing.T) bool {
	t.Helper()
	saved, err := plugins.Save(n.nodes[0].twin, ipproto.IPv4, n.backend)
	if err != nil {
		t.Fatal(err)
	}
	rules := saved[plugins.Chain{Table: "filter", Name: "FORWARD"}]
	at := func(jump string) int {
		return slices.IndexFunc(rules, func(r string) bool { return strings.HasSuffix(r, jump) })
	}
	plugin := max(at("-j WEAVE-NPC"), at("-j cali-FORWARD"))
	return plugin >= 0 && plugin < at("-j "+ruleset.Forward)
}

// wrongOurs says what the proxy would change in the rules of a node, and how its jumps are not in place.
func (n *neighbours) wrongOurs(t *testing.T, node *neighbour) string {
	t.Helper()
	for _, f := range ipproto.Families {
		if out, err := n.command(node, "diff", "--ip-family", f.String()); err != nil {
			return fmt.Sprintf("%v rules of the proxy on %s: %v\n%s", f, node.Name, err, out)
		}
		saved, err := plugins.Save(node.Namespace, f, n.backend)
		if err != nil {
			t.Fatal(err)
		}
		for from, rules := range jumps(f) {
			for _, jump := range rules {
				if count(saved[from], jump) != 1 {
					return fmt.Sprintf("%v: %d jumps %q from %v on %s:\n%s", f, count(saved[from], jump), jump, from, node.Name, strings.Join(saved[from], "\n"))
				}
			}
		}
		for _, hook := range []string{"INPUT", "OUTPUT"} {
			// After a flush, the kubelet may insert it just when the proxy does.
			rules := saved[plugins.Chain{Table: "filter", Name: hook}]
			if k := count(rules, "-j "+ruleset.Firewall); k != 1 && (!n.flushes || k == 0) {
				return fmt.Sprintf("%v: not one jump from %s to %s on %s:\n%s", f, hook, ruleset.Firewall, node.Name, strings.Join(rules, "\n"))
			}
		}
	}
	return ""
}

func count(rules []string, rule string) (n int) {
	for _, r := range rules {
		if r == rule {
			n++
		}
	}
	return n
}

// looked is how long nothing has been written when it is known that the proxies have seen what others wrote: they ask
// four times a second, but some changes of the legacy backend are seen only once a second.
const looked = 1500 * time.Millisecond

// settle waits until the proxies' rules are as they should be, and nobody has changed any for a while. It returns when
// the last change was seen.
func (n *neighbours) settle(t *testing.T, when string) time.Time {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	since, before := time.Now(), n.everything(t)
	for {
		time.Sleep(100 * time.Millisecond)
		now := n.everything(t)
		if !cmp.Equal(before, now) {
			since, before = time.Now(), now
		}
		if time.Since(since) < looked {
			if time.Now().After(deadline) {
				t.Fatalf("%s: rules change without end", when)
			}
			continue
		}
		var wrong string
		for _, node := range n.nodes {
			if wrong = n.wrongOurs(t, node); wrong != "" {
				break
			}
		}
		if wrong == "" {
			return since
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", when, wrong)
		}
	}
}

// everything is what stands in the tables of all nodes.
func (n *neighbours) everything(t *testing.T) (all []plugins.Saved) {
	t.Helper()
	for _, node := range n.nodes {
		for _, f := range ipproto.Families {
			saved, err := plugins.Save(node.Namespace, f, n.backend)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, saved)
		}
	}
	return all
}

// repairs is how often the proxies put right what others had changed.
func (n *neighbours) repairs(t *testing.T) (sum int) {
	t.Helper()
	for _, node := range n.nodes {
		text, err := get(cluster.HTTP(node.Namespace, 5*time.Second), "http://127.0.0.1:10249/metrics")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			if series, value, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(series, "espalier_repairs_total") {
				var k int
				if _, err := fmt.Sscan(value, &k); err != nil {
					t.Fatalf("read the metric %q: %v", line, err)
				}
				sum += k
			}
		}
	}
	return sum
}
