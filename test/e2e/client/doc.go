// Package client asks a Service, or a pod, without pause, and keeps what came of every request, so that a test can say
// how many were lost, which, and why.
//
// It has two halves. In one process, Ask sends the requests, and prints each Result as a line of JSON; in the other, a
// Stream starts that process in a network namespace and collects the lines. A Result has the client's own port, so that a
// lost request can be found in a connection tracking table, and how often TCP sent something again, so that a packet that
// the network lost is seen although nobody got an error.
//
// The one rule to respect: the network is never asked in the hope of an answer that hides an earlier failure. There is no
// second try but TCP's own.
package client
