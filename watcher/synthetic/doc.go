// Package synthetic makes up clusters: large and plain ones for benchmarks, and small ones with every feature
// for property tests.
//
// Everything is a function of a seed, so that a failure can be repeated. The clusters are valid: no two
// Services claim the same address and port. It knows nothing of rules or of the API.
package synthetic
