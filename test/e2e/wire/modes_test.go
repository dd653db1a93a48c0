package wire

import (
	"net/netip"
	"testing"

	"espalier/test/netns/lab"
)

// Modes without rules of their own still lead every packet where it should go within the cluster.
func TestModesWithoutRules(t *testing.T) {
	for _, mode := range []Mode{Flat, Endpoint} {
		t.Run(mode.String(), func(t *testing.T) {
			w := build(t, Config{Mode: mode})
			nodes := w.Nodes()
			if err := nodes[2].SetPodCIDRs(ranges(7)); err != nil {
				t.Fatal(err)
			}
			first, second, far, other := addPod(t, nodes[0], "first"), addPod(t, nodes[0], "second"), addPod(t, nodes[1], "far"), addPod(t, nodes[2], "other")
			for _, ns := range []*lab.Namespace{first.Namespace, second.Namespace, far.Namespace, other.Namespace, nodes[0].Namespace} {
				serve(t, ns)
			}
			for family, name := range families {
				for _, c := range []struct {
					way      string
					from     *lab.Namespace
					to, seen []netip.Addr // nil: any
				}{
					{"a pod to itself", first.Namespace, first.Addrs, first.Addrs},
					{"pod to pod on its node", first.Namespace, second.Addrs, first.Addrs},
					{"pod to pod on another node", first.Namespace, far.Addrs, first.Addrs},
					{"and back", far.Namespace, first.Addrs, far.Addrs},
					{"pod to a node that got another range", far.Namespace, other.Addrs, far.Addrs},
					{"and back", other.Namespace, far.Addrs, other.Addrs},
					{"pod to its node", first.Namespace, nodes[0].Addrs, first.Addrs},
					{"node to its pod", nodes[0].Namespace, first.Addrs, nil},
					{"node to a pod of another node", nodes[0].Namespace, far.Addrs, nil},
				} {
					seen, err := ask(c.from, c.to[family])
					if err != nil {
						t.Errorf("%s, %s: %v", name, c.way, err)
					} else if c.seen != nil && seen != c.seen[family].String() {
						t.Errorf("%s, %s: seen as %s, want %s", name, c.way, seen, c.seen[family])
					}
				}
			}
		})
	}
}
