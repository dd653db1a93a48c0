// Package kubetest is an API server for tests and benchmarks. It keeps Services, EndpointSlices and Nodes in
// memory, and lists and watches them over HTTP on 127.0.0.1 as the real one does: selectors, resource versions,
// pages, streams of the initial state, bookmarks, protobuf and JSON. It can also do what a real one does on bad
// days: refuse, stop in the middle, talk nonsense, forget its history, cut connections.
//
// It does not default or convert objects, validates Events only, has no other verbs, and lets everybody in. Of
// ServiceCIDRs there are none; Events can be created, and their series patched.
package kubetest
