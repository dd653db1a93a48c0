// Package shop is a small web shop for demonstrations and tests: three Deployments and three Services, of which the
// frontend calls the backend and that the database, and the server that runs in each of their containers.
//
// It knows HTTP and its own manifests. It does not know who runs the pods, nor what makes Services reachable.
//
// The one rule to respect: every request is a connection of its own, also from pod to pod, because a Service chooses an
// endpoint per connection.
package shop
