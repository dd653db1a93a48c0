package wire

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"espalier/test/netns/lab"
)

var (
	clusterCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")}
	families     = []string{"IPv4", "IPv6"}
)

// patience is for what must come.
const patience = 10 * time.Second

// build makes three nodes, each with its ranges.
func build(t *testing.T, c Config) *Wire {
	t.Helper()
	if testing.Short() {
		t.Skip("builds network namespaces: run without -short")
	}
	if err := lab.Usable(); err != nil {
		t.Skip(err)
	}
	control, err := lab.NewNamespace("control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Close)
	c.Control, c.Nodes, c.ClusterCIDRs = control, 3, clusterCIDRs
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	for i, n := range w.Nodes() {
		if err := n.SetPodCIDRs(ranges(i)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// ranges are the i-th that a controller manager would give.
func ranges(i int) []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%x::/64", i)), // in no particular order
		netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)),
	}
}

func addPod(t *testing.T, n *Node, name string) *Pod {
	t.Helper()
	p, err := n.AddPod(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// serve answers every connection with the address of the client, followed by more than fits into one packet.
func serve(t *testing.T, ns *lab.Namespace) {
	t.Helper()
	var l net.Listener
	err := ns.Do(func() (err error) {
		l, err = net.Listen("tcp", ":80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	filler := strings.Repeat("x", 100_000)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
				_, _ = fmt.Fprintf(conn, "%s\n%s", host, filler)
			}()
		}
	}()
}

// ask returns whom a server at an address sees when it is called from a namespace.
func ask(from *lab.Namespace, to netip.Addr) (seen string, err error) {
	err = from.Go(func() error {
		conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, 80).String(), patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		in := bufio.NewReader(conn)
		if seen, err = in.ReadString('\n'); err != nil {
			return err
		}
		rest, err := io.Copy(io.Discard, in)
		if err == nil && rest != 100_000 {
			err = fmt.Errorf("100000 bytes were sent and %d arrived", rest)
		}
		return err
	})
	return strings.TrimSpace(seen), err
}

func TestPacketsReachWhereTheyShould(t *testing.T) {
	for _, mode := range []Mode{Overlay, Routed} {
		for _, backend := range []string{"nft", "legacy"} {
			t.Run(fmt.Sprintf("%s, rules in %s", mode, backend), func(t *testing.T) {
				requireBackend(t, backend)
				w := build(t, Config{Mode: mode, Backend: backend})
				nodes := w.Nodes()
				first, second, far := addPod(t, nodes[0], "first"), addPod(t, nodes[0], "second"), addPod(t, nodes[1], "far")
				outside, control := w.Outside(), w.Control()
				for _, ns := range []*lab.Namespace{first.Namespace, second.Namespace, far.Namespace, nodes[0].Namespace, nodes[1].Namespace, outside.Namespace, control.Namespace} {
					serve(t, ns)
				}
				for family, name := range families {
					for _, c := range []struct {
						way  string
						from *lab.Namespace
						to   []netip.Addr
						seen []netip.Addr // whom the server must see; nil: any address of the node, of which it has several
					}{
						{"a pod to itself", first.Namespace, first.Addrs, first.Addrs},
						{"pod to pod on its node", first.Namespace, second.Addrs, first.Addrs},
						{"pod to pod on another node", first.Namespace, far.Addrs, first.Addrs},
						{"and back", far.Namespace, first.Addrs, far.Addrs},
						{"pod to its node", first.Namespace, nodes[0].Addrs, first.Addrs},
						{"pod to another node, masqueraded", first.Namespace, nodes[1].Addrs, nodes[0].Addrs},
						{"pod to outside, masqueraded", far.Namespace, outside.Addrs, nodes[1].Addrs},
						{"node to its pod", nodes[0].Namespace, first.Addrs, nil},
						{"node to a pod of another node", nodes[0].Namespace, far.Addrs, nil},
						{"node to node", nodes[0].Namespace, nodes[1].Addrs, nodes[0].Addrs},
						{"outside to node", outside.Namespace, nodes[0].Addrs, outside.Addrs},
						{"control to node", control.Namespace, nodes[1].Addrs, control.Addrs},
						{"node to control", nodes[1].Namespace, control.Addrs, nodes[1].Addrs},
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
}

// requireBackend skips the test on a machine whose iptables or kernel does not have the backend.
func requireBackend(t *testing.T, backend string) {
	t.Helper()
	probe := exec.CommandContext(t.Context(), "unshare", "--net", "iptables-"+backend, "-w", "5", "-t", "nat", "-S")
	if text, err := probe.CombinedOutput(); err != nil {
		t.Skipf("this machine lacks iptables-%s: %v: %s", backend, err, text)
	}
}

func TestNodeWithOtherRangesIsReachedThere(t *testing.T) {
	for _, mode := range []Mode{Overlay, Routed} {
		t.Run(mode.String(), func(t *testing.T) {
			w := build(t, Config{Mode: mode, Backend: "nft"})
			nodes := w.Nodes()
			p := addPod(t, nodes[0], "before")
			if err := nodes[0].SetPodCIDRs(ranges(7)); err == nil {
				t.Error("the ranges changed under a pod: no error")
			}
			p.Close()
			if err := nodes[0].SetPodCIDRs(ranges(7)); err != nil {
				t.Fatal(err)
			}
			if err := nodes[2].SetPodCIDRs(ranges(0)); err != nil { // what was the first node's
				t.Fatal(err)
			}
			near, far := addPod(t, nodes[0], "near"), addPod(t, nodes[2], "far")
			serve(t, far.Namespace)
			for family, name := range families {
				if got, want := near.Addrs[family], nth(ranges(7)[1-family], firstPod); got != want {
					t.Errorf("%s: the pod has %s, want %s", name, got, want)
				}
				if seen, err := ask(near.Namespace, far.Addrs[family]); err != nil || seen != near.Addrs[family].String() {
					t.Errorf("%s: seen as %q, %v", name, seen, err)
				}
			}
		})
	}
}

func TestAddressIsGivenAgainAfterAllOthers(t *testing.T) {
	n := &Node{wire: &Wire{}, pods: map[*Pod]bool{}, cidrs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}, last: firstPod - 1}
	n.Host.Namespace = &lab.Namespace{Name: "node1"}
	var pods []*Pod
	for range lastPod - firstPod + 1 {
		p := &Pod{}
		if err := n.claim(p); err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	if err := n.claim(&Pod{}); err == nil {
		t.Error("more pods than addresses: no error")
	}
	delete(n.pods, pods[3])
	delete(n.pods, pods[7])
	for _, want := range []string{"10.244.1.5", "10.244.1.9"} {
		p := &Pod{}
		if err := n.claim(p); err != nil || p.Addrs[0].String() != want {
			t.Errorf("the next pod has %v, %v, want %s", p.Addrs, err, want)
		}
	}
}
