// Package bench measures Service proxies from outside: a proxy is a process on a node made of network namespaces,
// which reads a synthetic cluster from an API server, and what counts is when connections are answered and what
// the process and its children cost. Every proxy is measured by the same code, whatever it is.
//
// The parts: feed is the cluster, bed is the node, report is what is made of the results. This package
// knows the order of things, and for how long each may be waited for.
//
// The one rule to respect: a stage that does not finish in time is a result, not an error.
package bench
