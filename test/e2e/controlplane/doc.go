// Package controlplane runs a real control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, as
// processes in the network namespace of whoever calls it. RBAC decides what a client may do. It knows certificates,
// command lines, and when each of them is ready; it takes the API server away and brings it back, and compacts etcd. It
// does not know nodes, pods, or the proxy under test.
//
// The binaries are those that "make e2e" builds (see Binary). Nothing is written but below the folder of Config.
//
// The one rule to respect: readiness is asked for, never assumed after some time.
package controlplane
