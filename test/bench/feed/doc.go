// Package feed is the cluster of a measurement: an API server in memory with a synthetic cluster of a given size,
// the Services that are watched by packets, and the changes that others make meanwhile.
//
// It knows objects. It does not know who reads them, nor when a change has arrived anywhere.
package feed
