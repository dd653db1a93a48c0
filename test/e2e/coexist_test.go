package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// rounds is how often each plugin looks at its rules again while the proxies run.
const rounds = 3

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
			n.load(t, node)
		}
		n.dump(t, node)
		n.startProxy(t, node)
		if !pluginsFirst {
			n.load(t, node)
		}
	}
	n.settle(t, "at first")
	n.check(t, "at first")
	n.compareTheirs(t, "at first")

	var windows []window
	clients := n.connect()
	for round := range rounds {
		when, begun, before := fmt.Sprintf("round %d", round+1), time.Now(), n.repairs(t)
		for _, node := range n.nodes {
			n.reassert(t, node)
		}
		n.settle(t, when)
		t.Logf("%s: %d repairs", when, n.repairs(t)-before)
		if n.flushes {
			windows = append(windows, window{begun, time.Now()})
		} else if round == rounds-1 && n.repairs(t) != before {
			t.Errorf("the proxy still changes what plugins wrote after %d rounds", rounds)
		}
	}
	judge(t, clients.end(), windows)
	n.check(t, "in the end")
	n.compareTheirs(t, "in the end")
}

// reassert lets each plugin look at its rules again, on the node and on its twin.
func (n *neighbours) reassert(t *testing.T, node *neighbour) {
	t.Helper()
	for _, p := range n.plugins {
		for _, ns := range []*lab.Namespace{node.Namespace, node.twin} {
			if err := p.Reassert(ns, n.backend, node.config); err != nil {
				t.Fatal(err)
			}
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
