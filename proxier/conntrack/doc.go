// Package conntrack makes the kernel forget UDP connections that go on to where they should not.
//
// Rules decide about the first packet of a connection, and the kernel's connection tracking (conntrack) about all
// others. A TCP client notices that its endpoint is gone; a UDP client that goes on sending keeps its entry alive and
// never reaches another endpoint (k/k#139628: metrics were sent to a pod for 13 hours after it had gone). So when the
// endpoints of a frontend change, or the frontend itself, its entries that no rule would make any more are deleted,
// and the next packet of the client makes a new one.
//
// # What is stale
//
// An entry of UDP in the default zone, of which the original destination is a frontend: an address and port of a
// Service (cluster IP, external IP, load-balancer VIP), or a node port on an address where node ports answer.
//
//   - The frontend is served: the entry is stale unless its reply comes from an endpoint that is serving or ready,
//     wherever that runs and whatever policies and hints say. An entry that was not translated, because there
//     were no rules or no endpoints when it was made, is stale by that. One exception: without any such endpoint,
//     entries of a node port that were not translated are left alone; they are those of a process of the node.
//   - The frontend is gone, with its Service or without: an entry is stale if its reply comes from one of
//     the endpoints that the frontend had. All others belong to somebody else.
//   - The node has lost the address of a node port: as if the frontend were gone on that address.
//
// kube-proxy (pkg/proxy/conntrack) does the first of these after changes of endpoints only. It matches node ports by
// number alone, so that flows through the node to the same port of anything else are cut, and therefore leaves them
// alone once the last endpoint is gone.
//
// TCP and SCTP are never touched: they notice by themselves, and a connection that loses its entry is cut.
//
// What went away while the process did not run is known from the rules that stand in the kernel when it starts, ours or
// kube-proxy's: they say which frontends there were, and which endpoints they had. What kube-proxy left in its modes
// ipvs and nftables is not read.
//
// # How
//
// A Book remembers what the kernel serves, and which frontends have changed since they were last clean. It has only
// the Services with a UDP port, and shares their values with the source. A Cleaner is one goroutine for each family:
// it takes all that has piled up, reads the table once, and deletes on the way; what changes meanwhile waits for
// the next turn, and delays nobody. Table is the netlink socket.
//
// The one rule to respect: tell the Cleaner of Services only when the rules for them are in the kernel. Entries that
// are deleted earlier come back as they were.
package conntrack
