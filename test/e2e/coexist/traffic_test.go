package coexist

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"espalier/proxier/ipproto"
	"espalier/test/netns/lab"
)

const (
	patience = 10 * time.Second       // for what must come
	quiet    = 700 * time.Millisecond // for what must not
	// pace is how long a client rests after a connection, so that all together do not keep the processors from those
	// whom they watch.
	pace = 10 * time.Millisecond
)

// way is one way to reach somebody.
type way struct {
	name string
	from *lab.Namespace
	to   netip.AddrPort
	by   string     // who must answer
	seen netip.Addr // whom it must see; the zero Addr: it does not matter
	// blocked: nobody may answer.
	blocked bool
}

// serve answers each connection with the name of who answers and the address of who asks.
func serve(t *testing.T, ns *lab.Namespace, name string) {
	t.Helper()
	var l net.Listener
	err := ns.Do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", podPort))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			peer := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
			_, _ = fmt.Fprintf(conn, "%s %s\n", name, peer) // lost is lost
			_ = conn.Close()
		}
	}()
}

// try goes the way once and says what is wrong, or nothing.
func (w way) try(ctx context.Context) string {
	limit := patience
	if w.blocked {
		limit = quiet
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var line string
	err := w.from.Go(func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.to.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		line, err = bufio.NewReader(conn).ReadString('\n')
		_ = conn.(*net.TCPConn).SetLinger(0) // leave nothing in TIME_WAIT
		return err
	})
	by, seen, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch {
	case w.blocked && err != nil:
		return ""
	case w.blocked:
		return fmt.Sprintf("answered by %s, which saw %s; want silence", by, seen)
	case err != nil:
		return err.Error()
	case by != w.by:
		return fmt.Sprintf("answered by %s, want %s", by, w.by)
	case w.seen.IsValid() && seen != w.seen.String():
		return fmt.Sprintf("%s saw %s, want %s", by, seen, w.seen)
	}
	return ""
}

// ways are all that is checked in a family.
func (n *neighbours) ways(f ipproto.Family) []way {
	at := func(addrs []netip.Addr) netip.Addr {
		if f == ipproto.IPv6 {
			return addrs[1]
		}
		return addrs[0]
	}
	pod := func(name string) netip.Addr { return at(n.pods[name].Addrs) }
	node, outside := n.nodes[0], n.wire.Outside()
	on := func(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
	near, far, local := offers["near"], offers["far"], offers["local"]
	ways := []way{
		{name: "pod to the cluster IP of a pod on its node", from: n.pods["frontend"].Namespace, to: near.clusterIP(f), by: "web-near", seen: pod("frontend")},
		{name: "pod to the cluster IP of a pod on another node", from: n.pods["frontend"].Namespace, to: far.clusterIP(f), by: "web-far", seen: pod("frontend")},
		{name: "pod of another node to the cluster IP of a pod here", from: n.pods["frontend-far"].Namespace, to: near.clusterIP(f), by: "web-near", seen: pod("frontend-far")},
		{name: "pod to itself by its cluster IP", from: n.pods["web-near"].Namespace, to: near.clusterIP(f), by: "web-near"},
		{name: "pod to a load-balancer VIP", from: n.pods["frontend"].Namespace, to: far.vip(f), by: "web-far"},
		{name: "pod to a VIP with policy Local, whose pod is on its node", from: n.pods["frontend"].Namespace, to: local.vip(f), by: "web-near", seen: pod("frontend")},
		{name: "pod to a node port", from: n.pods["frontend"].Namespace, to: on(at(node.Addrs), far.nodePort), by: "web-far"},
		{name: "node to a cluster IP, near", from: node.Namespace, to: near.clusterIP(f), by: "web-near"},
		{name: "node to a cluster IP, far", from: node.Namespace, to: far.clusterIP(f), by: "web-far"},
		{name: "outside to a node port, near", from: outside.Namespace, to: on(at(node.Addrs), near.nodePort), by: "web-near"},
		{name: "outside to a node port, far", from: outside.Namespace, to: on(at(node.Addrs), far.nodePort), by: "web-far"},
		{name: "outside to a node port with policy Local", from: outside.Namespace, to: on(at(node.Addrs), local.nodePort), by: "web-near", seen: at(outside.Addrs)},
		{name: "outside to a VIP", from: outside.Namespace, to: far.vip(f), by: "web-far"},
		{name: "outside to a VIP with policy Local", from: outside.Namespace, to: local.vip(f), by: "web-near", seen: at(outside.Addrs)},
		{name: "pod to pod on its node", from: n.pods["frontend"].Namespace, to: on(pod("web-near"), podPort), by: "web-near", seen: pod("frontend")},
		{name: "pod to pod on another node", from: n.pods["frontend"].Namespace, to: on(pod("web-far"), podPort), by: "web-far", seen: pod("frontend")},
		{name: "pod to outside", from: n.pods["frontend"].Namespace, to: on(at(outside.Addrs), podPort), by: "outside", seen: at(node.Addrs)},
		{name: "outside to a host port", from: outside.Namespace, to: on(at(node.Addrs), hostPort), by: "web-near", seen: at(outside.Addrs)},
		{name: "pod to a host port of its node", from: n.pods["frontend"].Namespace, to: on(at(node.Addrs), hostPort), by: "web-near"},
		{name: "pod to a host port of another node", from: n.pods["frontend-far"].Namespace, to: on(at(node.Addrs), hostPort), by: "web-near"},
		{name: "frontend to a database, near", from: n.pods["frontend"].Namespace, to: offers["db-near"].clusterIP(f), by: "db-near", seen: pod("frontend")},
		{name: "frontend to a database, far", from: n.pods["frontend"].Namespace, to: offers["db-far"].clusterIP(f), by: "db-far", seen: pod("frontend")},
		{name: "frontend of another node to a database here", from: n.pods["frontend-far"].Namespace, to: offers["db-near"].clusterIP(f), by: "db-near", seen: pod("frontend-far")},
	}
	if f == ipproto.IPv4 {
		loopback := netip.MustParseAddr("127.0.0.1")
		ways = append(ways,
			way{name: "node to its node port on loopback", from: node.Namespace, to: on(loopback, far.nodePort), by: "web-far"},
			way{name: "node to its host port on loopback", from: node.Namespace, to: on(loopback, hostPort), by: "web-near"})
	}
	if n.policy && n.guarded {
		ways = append(ways, way{
			name: "outside to a database on this node, by node port", from: outside.Namespace, to: on(at(node.Addrs), offers["db-near"].nodePort), blocked: true,
		})
	}
	if n.policy {
		ways = append(ways,
			way{name: "stranger to a database, near", from: n.pods["stranger"].Namespace, to: offers["db-near"].clusterIP(f), blocked: true},
			way{name: "stranger to a database, far", from: n.pods["stranger"].Namespace, to: offers["db-far"].clusterIP(f), blocked: true},
			way{name: "stranger to the pod of a database", from: n.pods["stranger"].Namespace, to: on(pod("db-near"), podPort), blocked: true},
			way{name: "stranger to a database by its VIP", from: n.pods["stranger"].Namespace, to: offers["db-far"].vip(f), blocked: true},
			way{name: "outside to a database on another node, by node port", from: outside.Namespace, to: on(at(node.Addrs), offers["db-far"].nodePort), blocked: true})
	}
	return ways
}

// check goes all ways once.
func (n *neighbours) check(t *testing.T, when string) {
	t.Helper()
	n.guarded = n.guards(t)
	var wg sync.WaitGroup
	wrong := make(chan string, 100)
	for _, f := range n.families() {
		for _, w := range n.ways(f) {
			wg.Go(func() {
				if why := w.try(t.Context()); why != "" {
					wrong <- fmt.Sprintf("%s, %v: %s: %s", when, f, w.name, why)
				}
			})
		}
	}
	wg.Wait()
	close(wrong)
	for why := range wrong {
		t.Error(why)
	}
}

// steady goes some ways again and again.
type steady struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	tries []attempt
}

// attempt is one connection.
type attempt struct {
	what       string
	begun, end time.Time
	wrong      string
}

// steadyNames are the ways that are gone all the time.
var steadyNames = []string{
	"pod to the cluster IP of a pod on another node", "outside to a node port, far", "outside to a VIP with policy Local",
	"frontend to a database, far", "outside to a host port", "stranger to a database, far",
}

// connect begins to go them.
func (n *neighbours) connect(ctx context.Context) *steady {
	s := &steady{}
	ctx, s.stop = context.WithCancel(ctx)
	for _, f := range n.families() {
		for _, w := range n.ways(f) {
			if slices.Contains(steadyNames, w.name) {
				s.done.Go(func() { s.repeat(ctx, f, w) })
			}
		}
	}
	return s
}

func (s *steady) repeat(ctx context.Context, f ipproto.Family, w way) {
	for {
		a := attempt{what: fmt.Sprintf("%v: %s", f, w.name), begun: time.Now()}
		a.wrong = w.try(ctx)
		a.end = time.Now()
		if ctx.Err() != nil {
			return // this one was cut off
		}
		s.mu.Lock()
		s.tries = append(s.tries, a)
		s.mu.Unlock()
		time.Sleep(pace)
	}
}

// end stops all, and returns what was tried.
func (s *steady) end() []attempt {
	s.stop()
	s.done.Wait()
	return s.tries
}

// window is a time in which connections may fail, because rules were gone that a network plugin wants.
type window struct{ from, to time.Time }

// judge fails the test for each connection that failed, but for those that met a window.
func judge(t *testing.T, tries []attempt, windows []window) {
	t.Helper()
	failed, forgiven, slowest := 0, 0, time.Duration(0)
	for _, a := range tries {
		slowest = max(slowest, a.end.Sub(a.begun))
		if a.wrong == "" {
			continue
		}
		failed++
		if slices.ContainsFunc(windows, func(w window) bool { return a.begun.Before(w.to) && a.end.After(w.from) }) {
			forgiven++
			continue
		}
		t.Errorf("%s, begun at %s: %s", a.what, a.begun.Format("15:04:05.000"), a.wrong)
	}
	t.Logf("%d connections, %d failed, of which %d met rules of plugins that were gone; the slowest took %s", len(tries), failed, forgiven, slowest.Round(time.Millisecond))
}
