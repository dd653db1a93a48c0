// Package health answers load balancers that ask, at the health-check node port of a Service, whether this
// node has an endpoint for it (externalTrafficPolicy: Local).
//
// It runs one plain HTTP server for each Service, family and address. It does not know rules, API objects or
// the interfaces of the node: the caller says which addresses to use and how many endpoints there are.
//
// The one rule to respect: Update only after the rules were written, or a load balancer sends connections to
// a node that does not forward them yet.
package health
