package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"espalier/test/netns/lab"
)

// What is asked of kube-proxy over HTTP is answered: health for everybody, the rest on the node itself.
func TestProxyURLs(t *testing.T) {
	t.Parallel()
	g := newGround(t, "urls")
	for node := range everywhere {
		for _, a := range g.c.Nodes[node].Addrs {
			g.answers(g.outside(), "http://"+netip.AddrPortFrom(a, 10256).String()+"/healthz", `"healthy":true`)
		}
		g.answers(g.node(node), "http://127.0.0.1:10256/livez", `"healthy":true`)
		g.answers(g.node(node), "http://127.0.0.1:10249/proxyMode", "iptables")
		g.answers(g.node(node), "http://127.0.0.1:10249/healthz", "ok")
		g.answers(g.node(node), "http://127.0.0.1:10249/metrics", "kubeproxy_sync_proxy_rules_duration_seconds_count")
	}
}

func (g *ground) answers(from *lab.Namespace, url, part string) {
	g.t.Helper()
	g.becomes(url+" says "+part, func(ctx context.Context) error {
		status, body, err := get(ctx, from, answerTimeout, url)
		if err == nil && (status != http.StatusOK || !strings.Contains(body, part)) {
			err = fmt.Errorf("it says %d: %.300s", status, body)
		}
		return err
	})
}

// Node ports answer on 127.0.0.1 of every node, wherever the endpoints are, for TCP and IPv4 alone; affinity works there, too.
func TestNodePortsOnLocalhost(t *testing.T) {
	t.Parallel()
	g := newGround(t, "localhost")
	pods := g.serve("web", 0, 1)
	s := g.service("web", "web", ofType(corev1.ServiceTypeNodePort))
	loopback := tcp(s.doors(netip.MustParseAddr("127.0.0.1"), nodePortOf))
	for node := range everywhere {
		g.reaches(g.node(node), loopback, pods...)
	}
	s.change(affine(3600))
	g.stays(g.node(2), loopback)
}

// The kernel forgets connections that one side has closed after an hour, as kube-proxy sets it, and not after a minute, as
// is its default.
func TestCloseWaitTimeout(t *testing.T) {
	t.Parallel()
	g := newGround(t, "close-wait")
	g.serve("web", 0)
	s := g.service("web", "web")
	d := s.clusterIP()[0]
	g.reaches(g.node(1), []door{d}, "web-1")
	var conn net.Conn
	err := g.node(1).Go(func() (err error) {
		conn, err = net.Dial("tcp", d.AddrPort.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The server closes, as it is asked to; this end does not.
	if _, err := io.WriteString(conn, "GET /hostname HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	g.becomes("a connection in the state CLOSE_WAIT has an hour", func(context.Context) error {
		f, err := flowOf(g.node(1), local)
		if err != nil {
			return err
		}
		if left := time.Duration(f.TimeOut) * time.Second; left < 59*time.Minute || left > time.Hour {
			return fmt.Errorf("it has %s: %v", left, f)
		}
		return nil
	})
}

// flowOf returns what the kernel tracks of a connection.
func flowOf(host *lab.Namespace, from netip.AddrPort) (found *netlink.ConntrackFlow, err error) {
	handle, err := handleIn(host)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	list, err := handle.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		if ip, _ := netip.AddrFromSlice(f.Forward.SrcIP); ip.Unmap() == from.Addr() && f.Forward.SrcPort == from.Port() {
			return f, nil
		}
	}
	return nil, fmt.Errorf("the connection from %s is not tracked", from)
}

func handleIn(host *lab.Namespace) (handle *netlink.Handle, err error) {
	err = host.Go(func() error {
		handle, err = netlink.NewHandle(unix.NETLINK_NETFILTER)
		return err
	})
	return handle, err
}
