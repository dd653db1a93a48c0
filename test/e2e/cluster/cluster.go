package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"espalier/test/e2e/controlplane"
	"espalier/test/e2e/process"
	"espalier/test/e2e/wire"
	"espalier/test/netns/lab"
)

// Config says what cluster it is.
type Config struct {
	Mode    wire.Mode // how pods reach each other
	Backend string    // of iptables: nft or legacy
	Nodes   int
	Dir     string // an empty folder for all files
	Proxy   *Workload
	// Say is told what happens.
	Say func(format string, args ...any)
}

// Cluster is a cluster.
type Cluster struct {
	Config Config
	Client kubernetes.Interface // an administrator's
	Plane  *controlplane.Plane
	Wire   *wire.Wire
	Nodes  []*Node

	control   *lab.Namespace
	manifests *manifests
}

// New makes a cluster on whose nodes pods can run, and no proxy does yet.
func New(ctx context.Context, config Config) (*Cluster, error) {
	c := &Cluster{Config: config}
	for _, step := range []func(context.Context) error{c.build, c.startPlane, c.startAgents, c.install} {
		begun := time.Now()
		if err := step(ctx); err != nil {
			c.Close()
			return nil, fmt.Errorf("make a cluster: %w", err)
		}
		config.Say("  … %.1f s", time.Since(begun).Seconds())
	}
	return c, nil
}

// build makes hosts and cables.
func (c *Cluster) build(context.Context) (err error) {
	c.Config.Say("building %d nodes, %s network, %s iptables", c.Config.Nodes, c.Config.Mode, c.Config.Backend)
	if c.control, err = lab.Current("control"); err != nil {
		return err
	}
	var pods []netip.Prefix
	for text := range strings.SplitSeq(controlplane.PodCIDRs, ",") {
		pods = append(pods, netip.MustParsePrefix(text))
	}
	c.Wire, err = wire.New(wire.Config{
		Control: c.control, Mode: c.Config.Mode, Nodes: c.Config.Nodes, ClusterCIDRs: pods, Backend: c.Config.Backend,
	})
	if err != nil {
		return err
	}
	for _, host := range c.Wire.Nodes() {
		n := &Node{Node: host, dir: filepath.Join(c.Config.Dir, host.Name), backend: c.Config.Backend}
		n.Proxy = &Proxy{cluster: c, node: n, workload: c.Config.Proxy, changed: make(chan struct{})}
		n.Log.Also, n.Proxy.Log.Also = process.Keep(n.Name+"-agent"), process.Keep(n.Name+"-proxy")
		if err := n.furnish(); err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, n)
	}
	return nil
}

// startPlane starts the control plane.
func (c *Cluster) startPlane(ctx context.Context) (err error) {
	c.Config.Say("starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler")
	c.Plane, err = controlplane.Start(ctx, controlplane.Config{Addrs: c.Wire.Control().Addrs, Dir: filepath.Join(c.Config.Dir, "control")})
	if err != nil {
		return err
	}
	c.Client = c.Plane.Client
	c.manifests, err = newManifests(c.Plane.Admin())
	return err
}

// install applies what the workload has for the API server.
func (c *Cluster) install(ctx context.Context) error {
	c.Config.Say("applying access and configuration of the proxy")
	return c.Install(ctx, c.Config.Proxy)
}

// StartProxies starts the proxy on all nodes, and waits until each has written rules.
func (c *Cluster) StartProxies(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := n.Proxy.Start(ctx); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := n.Proxy.AwaitSync(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Apply does what "kubectl apply --server-side" does. A namespace that is named and does not exist is made.
func (c *Cluster) Apply(ctx context.Context, texts ...string) error {
	for _, text := range texts {
		if err := c.manifests.apply(ctx, []byte(text)); err != nil {
			return fmt.Errorf("apply %w", err)
		}
	}
	return nil
}

// Delete does what "kubectl delete --wait=false" does.
func (c *Cluster) Delete(ctx context.Context, texts ...string) error {
	for _, text := range texts {
		if err := c.manifests.delete(ctx, []byte(text)); err != nil {
			return fmt.Errorf("delete %w", err)
		}
	}
	return nil
}

// Outside is a host that is not part of the cluster.
func (c *Cluster) Outside() *wire.Host { return c.Wire.Outside() }

// Logs returns the ends of all logs.
func (c *Cluster) Logs(lines int) string {
	var all strings.Builder
	if c.Plane != nil {
		all.WriteString(c.Plane.Logs(lines))
	}
	for _, n := range c.Nodes {
		fmt.Fprintf(&all, "--- the log of the proxy of %s ends with\n%s", n.Name, n.Proxy.Log.Tail(lines))
		fmt.Fprintf(&all, "--- the log of the agent of %s ends with\n%s", n.Name, n.Log.Tail(lines))
	}
	return all.String()
}

// Close ends everything.
func (c *Cluster) Close() {
	for _, n := range c.Nodes {
		n.Proxy.PowerOff()
		if n.stopAgent != nil {
			n.stopAgent()
		}
	}
	if c.Plane != nil {
		c.Plane.Close()
	}
	if c.Wire != nil {
		c.Wire.Close()
	}
	if c.control != nil {
		c.control.Close()
	}
}
