package cluster

import (
	"context"
	"os"
	"strings"

	"espalier/test/e2e/agent"
	"espalier/test/e2e/process"
	"espalier/test/e2e/wire"
)

// Node is a host with an agent and the proxy.
type Node struct {
	*wire.Node
	Agent *agent.Agent
	Proxy *Proxy
	Log   process.Log // of the agent

	dir       string // for files of the host
	backend   string
	stopAgent func() // nil if it does not run
}

// LockFile is the lock that programs take which change rules by legacy iptables. The nodes share it, because whoever runs
// iptables on a node without saying more takes this one.
const LockFile = "/run/xtables.lock"

// PowerOff ends everything on the node at once, and what the kernel held there is gone. Interfaces, addresses and routes
// are there again, and rules of the network plugin; no pod runs, and no proxy.
func (n *Node) PowerOff() error {
	n.Proxy.PowerOff()
	if n.stopAgent != nil {
		n.stopAgent()
		n.stopAgent = nil
	}
	if err := n.Reboot(); err != nil {
		return err
	}
	return n.furnish()
}

// PowerOn starts what PowerOff ended, as far as that has not been done, and waits until the proxy has written rules. This
// takes the API server.
func (n *Node) PowerOn(ctx context.Context) error {
	if n.stopAgent == nil {
		n.startAgent()
	}
	if !n.Proxy.Running() {
		if err := n.Proxy.Start(ctx); err != nil {
			return err
		}
	}
	return n.Proxy.AwaitSync(ctx)
}

// furnish makes what is on a node before anything of the cluster runs there: the files, and the chain by which the kubelet
// tells everybody in which backend rules belong.
func (n *Node) furnish() error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(LockFile, nil, 0o600); err != nil {
		return err
	}
	for _, tool := range []string{"iptables-", "ip6tables-"} {
		hint := strings.NewReader("*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n")
		if _, err := n.Command(hint, tool+n.backend+"-restore", "--noflush", "-w", "10"); err != nil {
			return err
		}
	}
	return nil
}
