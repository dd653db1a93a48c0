// Package cluster puts a cluster together: the control plane, hosts and cables, an agent on each node that runs pods, and
// the proxy under test on each node, as deploy/ says that it runs.
package cluster
