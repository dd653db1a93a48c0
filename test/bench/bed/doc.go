// Package bed is the test bed of a measurement: a node, a client and all endpoints in network namespaces, a
// program on the node, and what can be observed of it from outside: whether connections are answered and by whom,
// what the process and its children cost, what the kernel holds.
//
// It does not know what the program does, nor what it should.
package bed
