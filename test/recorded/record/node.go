package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"espalier/proxier/ipproto"
	"espalier/test/bench/bed"
	"espalier/test/recorded"
	"espalier/watcher/kube/kubetest"
)

// left returns what kube-proxy has left on a node when nothing changes any more.
func left(ctx context.Context, program, backend string, size int) (map[ipproto.Family]recorded.Rules, error) {
	b, err := bed.New(bed.Config{
		NodeIP: recorded.NodeIP(ipproto.IPv4), Services: netip.MustParsePrefix("172.30.0.0/16"), Client: netip.MustParseAddr("10.0.0.2"),
		Ports: []uint16{8080}, Backend: backend,
	})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	dir, err := os.MkdirTemp("", "espalier-record-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	server := kubetest.New()
	server.Apply(recorded.Objects(recorded.Cluster(size))...)
	kubeconfig, err := b.ServeAPI(server)
	if err != nil {
		return nil, err
	}
	n := node{b, dir}
	if err := n.kubelet(ctx); err != nil {
		return nil, err
	}
	p, err := b.Start([]string{
		program, "--kubeconfig", kubeconfig, "--hostname-override", recorded.NodeName, "--cluster-cidr", recorded.ClusterCIDR,
		"--proxy-mode", "iptables", "--conntrack-max-per-core", "0", "--healthz-bind-address", "127.0.0.1:10256",
	})
	if err != nil {
		return nil, err
	}
	defer p.Stop()
	return n.settle(ctx, p)
}

// node is the one that kube-proxy runs on.
type node struct {
	bed *bed.Bed
	dir string // for files
}

// settle waits until both families have all rules, and nothing changes any more.
func (n node) settle(ctx context.Context, p *bed.Process) (map[ipproto.Family]recorded.Rules, error) {
	const last = "this must be the last rule in this chain"
	rules := map[ipproto.Family]recorded.Rules{}
	for settled := false; !settled; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(3 * time.Second):
		}
		if err := p.Running(); err != nil {
			return nil, err
		}
		settled = true
		for _, f := range ipproto.Families {
			text, err := n.shell(ctx, tool(f)+"-save", "")
			if err != nil {
				return nil, err
			}
			now, err := recorded.Canonical(text)
			if err != nil {
				return nil, err
			}
			settled = settled && now == rules[f] && strings.Contains(text, last)
			rules[f] = now
		}
	}
	return rules, nil
}

// kubelet writes what a kubelet of this version writes at its start (pkg/kubelet/kubelet_network_linux.go).
func (n node) kubelet(ctx context.Context) error {
	const canaries = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n" +
		"*nat\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n*filter\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
	const firewall = "*filter\n:KUBE-FIREWALL - [0:0]\n-I OUTPUT -j KUBE-FIREWALL\n-I INPUT -j KUBE-FIREWALL\n" +
		`-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 ` +
		"-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\nCOMMIT\n"
	if _, err := n.shell(ctx, "iptables-restore --noflush", canaries+firewall); err != nil {
		return err
	}
	_, err := n.shell(ctx, "ip6tables-restore --noflush", canaries)
	return err
}

// shell runs a command line on the node, and returns what it prints.
func (n node) shell(ctx context.Context, line, stdin string) (string, error) {
	in, out, done := filepath.Join(n.dir, "in"), filepath.Join(n.dir, "out"), filepath.Join(n.dir, "done")
	if err := os.WriteFile(in, []byte(stdin), 0o600); err != nil {
		return "", err
	}
	_ = os.Remove(done) // of the last one
	p, err := n.bed.Start([]string{"sh", "-c", line + ` <"$1" >"$2" && touch "$3"`, "sh", in, out, done})
	if err != nil {
		return "", err
	}
	defer p.Stop()
	for p.Running() == nil {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	if _, err := os.Stat(done); err != nil {
		return "", fmt.Errorf("%s: %w", line, p.Running())
	}
	text, err := os.ReadFile(out)
	return string(text), err
}

// tool is iptables of a family.
func tool(f ipproto.Family) string {
	if f == ipproto.IPv6 {
		return "ip6tables"
	}
	return "iptables"
}
