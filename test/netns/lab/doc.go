// Package lab builds a node and its surroundings out of network namespaces, and sends real packets through it.
//
//	pod ──────┐              ┌────── eps     endpoints: answers on every address routed to it
//	ext ──────┤     node     │
//	blk ──────┴── (rules) ───┴────── world   everything else: owns all other addresses of the internet
//
// Every host but the node owns whatever address is routed to it and answers there, so that a packet always ends
// somewhere where it is seen: a connection that no rule takes is answered by world (or by the node itself) and
// is not mistaken for a dropped one. An answer names the host that gave it, the address that it was contacted on
// and the source address that it saw.
//
// The namespaces have no names: they live as long as a thread of this process is in them, so nothing is left
// behind however the process ends. The package knows sockets, routes and addresses. It does not know Services,
// nor what the rules on the node should say.
//
// The one rule to respect: a socket belongs to the namespace of the thread that made it, for ever. Make it inside
// Namespace.Do, use it anywhere.
package lab
