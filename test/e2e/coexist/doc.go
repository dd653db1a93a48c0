// Package coexist has the tests of the proxy beside other programs that write to the tables of a node: network plugins,
// the kubelet, and firewalld (see package plugins). Two nodes are wired as each network plugin wires them, the proxy
// reads manifests instead of a cluster, and each node has a twin where the plugins do the same and no proxy runs: what
// stands in the tables there is how it should be.
//
// The tests know what goes in (manifests, plugins) and what comes out (connections, rules of others, metrics). They do
// not know the proxy's rules.
package coexist
