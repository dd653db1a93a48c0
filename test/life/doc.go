// Package life has tests of the real program from its start to its end, as the cluster and the operator see it: what
// it asks an API server for, what it tells by Events, what it exits for and what it outlives.
//
// Each test has a network namespace of its own, with the program and an API server (kubetest) in it; the rules are
// those of the machine's iptables.
package life
