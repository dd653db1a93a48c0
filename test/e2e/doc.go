// Package e2e tests the proxy in a real cluster: etcd, kube-apiserver, kube-controller-manager and kube-scheduler 1.37,
// three nodes with an agent each that runs pods, and on each node the proxy as deploy/ says that it runs, with the rights
// of its ServiceAccount and the capabilities of its DaemonSet.
//
// TestMain executes the test binary again in namespaces of its own (package sandbox): nothing outlives it. The network
// namespace of the tests is the host of the control plane.
//
// There is one cluster for each run of "go test", made by the first test that asks for it:
//
//	c := theClusterFor(t)             // *cluster.Cluster; prints the ends of all logs if the test fails
//	c.Apply(t.Context(), manifest)    // as kubectl apply; c.Delete deletes; c.Client is an administrator's client
//	c.Nodes[0].Proxy                  // Stop, Start, Kill, Restart, Upgrade, Exits, Metric, Log
//	c.Nodes[0].HTTP(patience)         // a client on the node; cluster.HTTP(c.Outside().Namespace, …) is one off the cluster
//	c.Plane.KillAPIServer()           // and StartAPIServer, Compact
//
// $E2E_NETWORK says which kind: "overlay" (the default; VXLAN, as Flannel, with iptables-nft) or "routed" (a host route for
// each pod, as Calico, with iptables-legacy). "make e2e" runs the tests with both. $E2E_BIN names the folder with the
// binaries of the control plane, if it is not bin, and $E2E_LOGS an existing folder where whole logs are kept.
//
// The one rule to respect: a test leaves the cluster as it has found it, also when it fails. Namespaces of its own make
// that easy.
package e2e
