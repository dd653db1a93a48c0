// Package e2e has the tests against a real cluster.
package e2e
