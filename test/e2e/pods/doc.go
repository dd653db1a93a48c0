// Package pods is what runs in containers. The name of the image chooses: an image is a function of this binary, which is
// started again in a role for each container.
//
//	shop.example/…        the web shop of test/demo: $PORT, $CALLS
//	e2e.example/netexec   HTTP and UDP: says who it is and whom it sees, and can be told to misbehave
//	e2e.example/client    asks an address without pause, see package client
//	e2e.example/pause     does nothing
//
// What is behind the colon of an image is not looked at. The package knows sockets and its environment. It does not know
// the API, nor in which network it runs.
//
// The one rule to respect: a container says "ready" on a line of its own, on standard output, when it serves. Without a
// readinessProbe, that is what makes it ready.
package pods
