package cluster

import (
	"os"
	"path/filepath"
	"strings"

	"espalier/test/e2e/wire"
)

// Node is a host with an agent and the proxy.
type Node struct {
	*wire.Node
	Proxy *Proxy

	dir string // for files of the host
}

// LockFile is the lock that programs take on this node which change rules by legacy iptables.
func (n *Node) LockFile() string { return filepath.Join(n.dir, "xtables.lock") }

// furnish makes what is on a node before anything of the cluster runs there: the files, and the chain by which the kubelet
// tells everybody in which backend rules belong.
func (n *Node) furnish(backend string) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(n.LockFile(), nil, 0o600); err != nil {
		return err
	}
	for _, tool := range []string{"iptables-", "ip6tables-"} {
		hint := strings.NewReader("*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n")
		if _, err := n.Command(hint, tool+backend+"-restore", "--noflush", "-w", "10"); err != nil {
			return err
		}
	}
	return nil
}
