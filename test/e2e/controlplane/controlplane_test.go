package controlplane_test

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/e2e/controlplane"
	"espalier/test/e2e/sandbox"
	"espalier/test/netns/lab"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run, nil)) }

// The API server dies and comes back with all that it knew, and what etcd has compacted cannot be watched any more.
func TestTheAPIServerComesBackAndHistoryDoesNot(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("198.18.0.2") // loopback is not taken
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: lab.IPNet(netip.PrefixFrom(addr, 32))}); err != nil {
		t.Fatal(err)
	}
	p, err := controlplane.Start(ctx, controlplane.Config{Addrs: []netip.Addr{addr}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	services, err := p.Client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.KillAPIServer()
	if p.Serves() {
		t.Error("it serves, although it was killed")
	}
	if _, err := p.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	events, err := p.Client.CoreV1().Services("").Watch(ctx, metav1.ListOptions{ResourceVersion: services.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	if status, ok := (<-events.ResultChan()).Object.(*metav1.Status); !ok || status.Code != 410 {
		t.Errorf("a watch of what was before says %v, want 410", status)
	}
}
