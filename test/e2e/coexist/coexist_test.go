package coexist

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/test/e2e/plugins"
	"espalier/test/netns/lab"
)

// rounds is how often each plugin looks at its rules again while the proxies run. In the last one it finds that a rule of
// it is gone.
const rounds = 2

// TestCoexistence: the proxy works beside the rules of each network plugin, started before it and after it, while these
// are asserted again and again; and neither harms the other's rules.
func TestCoexistence(t *testing.T) {
	requireProxy(t)
	backend := iptables.NFT
	if os.Getenv("E2E_NETWORK") == "routed" {
		backend = iptables.Legacy
	}
	for _, s := range stacks() {
		for _, order := range []struct {
			name  string
			first bool
		}{{"plugin first", true}, {"proxy first", false}} {
			t.Run(fmt.Sprintf("%s/%s/%s", s.name, backend, order.name), func(t *testing.T) {
				t.Parallel()
				coexist(t, newNeighbours(t, s, backend), order.first)
			})
		}
	}
}

func coexist(t *testing.T, n *neighbours, pluginsFirst bool) {
	for name, pod := range n.pods {
		serve(t, pod.Namespace, name)
	}
	serve(t, n.wire.Outside().Namespace, "outside")
	if err := n.writeManifests(); err != nil {
		t.Fatal(err)
	}
	for _, node := range n.nodes {
		if pluginsFirst {
			n.each(t, node, plugins.Plugin.Load)
		}
		n.dump(t, node)
		n.startProxy(t, node)
		if !pluginsFirst {
			n.each(t, node, plugins.Plugin.Load)
		}
	}
	n.settle(t, "at first")
	n.check(t, "at first")
	n.compareTheirs(t, "at first")

	clients := n.connect(t.Context())
	var gaps []window
	for round := range rounds {
		gaps = append(gaps, n.round(t, round)...)
	}
	judge(t, clients.end(), gaps)
	n.check(t, "in the end")
	n.compareTheirs(t, "in the end")
}

// round lets all plugins look at their rules again, and waits until all is as it should be. It returns when rules of
// theirs were gone.
func (n *neighbours) round(t *testing.T, round int) (gaps []window) {
	t.Helper()
	when, begun, before := fmt.Sprintf("round %d", round+1), time.Now(), n.repairs(t)
	for _, node := range n.nodes {
		lost := time.Now()
		if round == rounds-1 {
			n.each(t, node, plugins.Plugin.Lose)
		}
		n.each(t, node, plugins.Plugin.Reassert)
		if round == rounds-1 {
			gaps = append(gaps, window{lost, time.Now()})
		}
	}
	settled := n.settle(t, when)
	repairs := n.repairs(t) - before
	t.Logf("%s: %d repairs", when, repairs)
	most := 0 // nothing of the proxies' own was touched
	if n.flushes {
		// All of it was taken away, once for each family of each node. The tables go one after the other.
		most = 2 * len(ipproto.Families) * len(n.nodes)
		gaps = []window{{begun, settled}}
	}
	if repairs > most {
		t.Errorf("%s: the proxies wrote %d repairs, want at most %d", when, repairs, most)
	}
	return gaps
}

// each lets each plugin do something, on the node and on its twin.
func (n *neighbours) each(t *testing.T, node *neighbour, do func(plugins.Plugin, *lab.Namespace, iptables.Backend, plugins.Node) error) {
	t.Helper()
	for _, p := range n.plugins {
		if err := do(p, node.Namespace, n.backend, node.config); err != nil {
			t.Fatal(err)
		}
		if err := do(p, node.twin, n.backend, node.twinConfig()); err != nil {
			t.Fatal(err)
		}
	}
}

// get returns what is at a URL.
func get(client *http.Client, url string) (string, error) {
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, r.Status, text)
	}
	return string(text), err
}
