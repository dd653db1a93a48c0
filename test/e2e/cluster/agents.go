package cluster

import (
	"context"
	"errors"
	"fmt"

	"espalier/test/e2e/agent"
)

// startAgents starts the agents of all nodes, and waits until pods can run.
func (c *Cluster) startAgents(ctx context.Context) error {
	c.Config.Say("starting the agents of the nodes")
	for i, n := range c.Nodes {
		n.Agent = agent.New(agent.Config{Client: c.Client, Node: n.Node, Zone: fmt.Sprintf("zone-%d", i+1), Log: n.log})
		n.startAgent()
	}
	for _, n := range c.Nodes {
		if err := n.awaitAgent(ctx); err != nil {
			return err
		}
	}
	return nil
}

// startAgent lets the agent run until stopAgent. What it says, and an error that ends it, are in the node's log.
func (n *Node) startAgent() {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	n.stopAgent = func() { stop(); <-ended }
	go func() {
		defer close(ended)
		if err := n.Agent.Run(ctx); err != nil && ctx.Err() == nil {
			n.log("the agent of %s has ended: %v", n.Name, err)
		}
	}()
}

// awaitAgent waits until the node has its pod ranges.
func (n *Node) awaitAgent(ctx context.Context) error {
	return Until(ctx, n.Name+" has pod ranges", func(context.Context) error {
		if len(n.PodCIDRs()) == 0 {
			return errors.New("it has none")
		}
		return nil
	})
}

// log writes a line to the node's log.
func (n *Node) log(format string, args ...any) { fmt.Fprintf(&n.Log, format+"\n", args...) }
