// Package health answers those who ask whether to send connections to this node: probes at /healthz and /livez about
// the node as a whole, and load balancers at the health-check node port of a Service, which ask whether the node has
// an endpoint for it (externalTrafficPolicy: Local).
//
// The health of the proxy is in a State: a family is healthy unless something waits for too long to be in the kernel.
// For each Service, family and address there is one plain HTTP server. The package does not know rules, API objects
// or the interfaces of the node: the caller says what waits, which addresses to use and how many endpoints there are.
//
// The one rule to respect: Responder.Update and Progress.Done only after the rules were written, or a load balancer
// sends connections to a node that does not forward them yet.
package health
