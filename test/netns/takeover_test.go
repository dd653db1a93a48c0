package netns

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/ruleset"
	"espalier/test/netns/lab"
	"espalier/test/recorded"
)

// TestAfterKubeProxy starts the program on nodes that kube-proxy 1.37 left, as recorded, and goes back and forth between both,
// while clients connect to Services of every kind in both families.
//
// On the way back the real kube-proxy runs if KUBE_PROXY in the environment is its path. Else what it writes is given to
// iptables-restore, in one COMMIT for each table, as it does. With 10,000 Services there is a way back only to the real one, and
// with the legacy backend: with nf_tables that takes kube-proxy a quarter of an hour.
func TestAfterKubeProxy(t *testing.T) {
	needNamespaces(t)
	path := build(t, "espalier")
	for _, size := range recorded.Sizes() {
		var clean map[ipproto.Family]ruleset.Ruleset // the same with both backends
		for _, b := range []iptables.Backend{iptables.Legacy, iptables.NFT} {
			t.Run(fmt.Sprintf("%d Services/%s", size, b), func(t *testing.T) {
				if _, err := iptables.Open(t.Context(), ipproto.IPv4, b); err != nil {
					cannot(t, err.Error())
				}
				n := inherit(t, b, size, path)
				if clean == nil {
					timed(t, "start on an empty node", func() { n.startClean(t) })
					clean = n.clean
				}
				n.clean = clean
				takeOverAndBack(t, n, size < 10000 || b == iptables.Legacy && realKubeProxy() != "")
			})
		}
	}
}

// takeOverAndBack takes over, and if there is a way back goes it and takes over again.
func takeOverAndBack(t *testing.T, n *inherited, back bool) {
	t.Helper()
	timed(t, "load the recorded rules", func() { n.load(t) })
	c := n.connectAll(t)
	c.withHairpins(t, func() { timed(t, "take over", func() { n.takeOver(t) }) })
	n.tell(t)
	c.some(t)
	n.checkOurs(t)
	c.checkKept(t)
	if back {
		n.stop(t)
		timed(t, "give back", func() { n.giveBack(t) })
		c.some(t)
		n.checkTheirs(t)
		c.checkKept(t)
		if n.running != nil {
			n.stop(t)
		}
		c.withHairpins(t, func() { timed(t, "take over again", func() { n.takeOver(t) }) })
		c.some(t)
		n.checkOurs(t)
		c.checkKept(t)
	}
	c.stop(t)
}

// timed prints how long something takes.
func timed(t *testing.T, what string, do func()) {
	t.Helper()
	start := time.Now()
	do()
	t.Logf("%s, from %s: %v", what, start.Format("15:04:05.000"), time.Since(start).Round(time.Millisecond))
}

// startClean finds out what stands after a start on a node without rules, and removes it.
func (n *inherited) startClean(t *testing.T) {
	t.Helper()
	n.takeOver(t)
	n.stop(t)
	for _, s := range n.families() {
		n.clean[s.Family] = s.saved(t).Owned()
	}
	n.empty(t)
}

// tell prints what the takeover took, and what went wrong on the way.
func (n *inherited) tell(t *testing.T) {
	t.Helper()
	figures := regexp.MustCompile(`(family|chainsWritten|chainsDeleted|commits|rules|planning|reading|writing)=\S+`)
	for line := range strings.Lines(n.running.log.String()) {
		switch {
		case strings.Contains(line, `"Synced"`):
			t.Log(strings.Join(figures.FindAllString(line, -1), " "))
		case strings.Contains(line, "Cannot bring the rules up to date"), strings.Contains(line, "refuses"):
			t.Log(strings.TrimSpace(line))
		}
	}
}

// realKubeProxy is the path of kube-proxy 1.37; empty: it is not here.
func realKubeProxy() string { return os.Getenv("KUBE_PROXY") }

// giveBack lets kube-proxy take over, and waits until its rules are there.
func (n *inherited) giveBack(t *testing.T) {
	t.Helper()
	if program := realKubeProxy(); program != "" {
		n.exec(t, program, "--kubeconfig", n.api, "--hostname-override", recorded.NodeName, "--cluster-cidr", recorded.ClusterCIDR,
			"--proxy-mode", "iptables", "--conntrack-max-per-core", "0", "-v", "2")
		n.awaitSynced(t, `"SyncProxyRules complete" ipFamily="IPv4"`, `"SyncProxyRules complete" ipFamily="IPv6"`)
		return
	}
	n.both(t, func(s *site) error {
		var stale []string
		for c := range s.saved(t).Rules {
			if _, theirs := n.values[s.Family].Rules[c]; c.Table == ruleset.Nat && ruleset.PerService(c.Name) && !theirs {
				stale = append(stale, c.Name)
			}
		}
		text, err := n.left[s.Family].Sync(slices.Sorted(slices.Values(stale)))
		if err != nil {
			return err
		}
		return s.restore(text, "--noflush", "--counters")
	})
}

// connections are clients of both families that connect without pause, connections that stay open, and clients that a Service
// with affinity remembers.
type connections struct {
	node *inherited
	// By family, as node.families has them.
	streams  [2][]stream
	hairpins [2][]stream
	clients  [2]*traffic
	open     []held
	pins     []pin
	ended    bool
}

// held is a connection that was made once.
type held struct {
	what string
	*lab.Conn
	first lab.Answer
}

// pin is a client, and the endpoint that it was given.
type pin struct {
	site *site
	row
	at netip.AddrPort
}

func (n *inherited) connectAll(t *testing.T) *connections {
	t.Helper()
	c := &connections{node: n}
	cluster := recorded.Cluster(n.size)
	for i, s := range n.families() {
		chosen := choose(s.Family, cluster)
		c.streams[i], c.hairpins[i] = chosen.streams(), []stream{chosen.hairpin()}
		c.remember(t, s, chosen.of[recorded.Affinity])
		for _, st := range c.streams[i] {
			if st.want.kind == toEndpoints && st.to.proto == ipproto.TCP {
				c.hold(t, s, st)
			}
		}
		c.clients[i] = s.connect(t, nothing, c.streams[i])
	}
	t.Cleanup(func() { c.stop(t) }) // before the node is gone, if the test has failed
	c.some(t)
	return c
}

// hold makes a connection that stays open.
func (c *connections) hold(t *testing.T, s *site, st stream) {
	t.Helper()
	conn, o, err := s.Open(st.probe(), patience)
	if err != nil || o.Verdict != lab.Answered {
		t.Fatalf("%s: %v, %v", st.id, o, err)
	}
	t.Cleanup(conn.Close)
	c.open = append(c.open, held{st.id, conn, o.Answer})
}

// remember lets a Service with affinity see clients that come back later.
func (c *connections) remember(t *testing.T, s *site, service recorded.Service) {
	t.Helper()
	const clients = 20
	addr := netip.MustParseAddr("10.1.0.1")
	for range clients {
		r := row{
			from: client{lab.Pod, in(s.Family, addr)},
			to:   destination{service.Ports[0].Proto, netip.AddrPortFrom(service.ClusterIP(s.Family), service.Ports[0].Port)},
		}
		c.pins = append(c.pins, pin{s, r, answers(t, s, r)})
		addr = addr.Next()
	}
}

// answers connects and returns who answered.
func answers(t *testing.T, s *site, r row) netip.AddrPort {
	t.Helper()
	o, err := s.Try(r.probe(), patience)
	if err != nil || o.Verdict != lab.Answered {
		t.Fatalf("%s: %v, %v", r.probe(), o, err)
	}
	return o.Answer.At
}

// withHairpins does something while endpoints connect to themselves. kube-proxy marks such a packet in PREROUTING, and we in
// POSTROUTING, where the source is known that kube-proxy has to ask for in each endpoint's chain. So on the way back one
// that is between both, in that moment, is not masqueraded; on the way forth it is marked already.
func (c *connections) withHairpins(t *testing.T, do func()) {
	t.Helper()
	var clients [2]*traffic
	for i, s := range c.node.families() {
		clients[i] = s.connect(t, nothing, c.hairpins[i])
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			for _, tr := range clients {
				tr.stop(t)
			}
		}
	}
	t.Cleanup(end) // before the node is gone, if the test fails
	for i, tr := range clients {
		tr.some(t, c.hairpins[i])
	}
	do()
	for i, tr := range clients {
		tr.some(t, c.hairpins[i])
	}
	end()
}

// some waits until every client has made some more connections.
func (c *connections) some(t *testing.T) {
	t.Helper()
	for i := range c.clients {
		c.clients[i].some(t, c.streams[i])
	}
}

// checkKept wants that the open connections work on, and that clients with affinity get where they got before.
func (c *connections) checkKept(t *testing.T) {
	t.Helper()
	for _, h := range c.open {
		if o, err := h.Again(patience); err != nil || o.Verdict != lab.Answered || o.Answer != h.first {
			t.Errorf("the open connection of %s: %v, %v", h.what, o, err)
		}
	}
	for _, p := range c.pins {
		if at := answers(t, p.site, p.row); at != p.at {
			t.Errorf("%s was answered by %s, and now by %s", p.probe(), p.at, at)
		}
	}
}

// stop ends the clients, and reports what went wrong.
func (c *connections) stop(t *testing.T) {
	t.Helper()
	if c.ended {
		return
	}
	c.ended = true
	for _, tr := range c.clients {
		tr.stop(t)
	}
}
