// Package kube brings Services, EndpointSlices and the own Node from an API server into a watcher.Tracker.
//
// It keeps no API objects: each is converted the moment it is decoded, and what stays here are the names of
// what the Tracker has, to notice what vanished while the connection was gone. It does not know what the
// fields of the objects mean; watcher/convert does. It never gives up: whatever the API server does, the
// Tracker keeps the last known state. It ends only if this is not the node any more that everything was set up for.
//
// The one rule to respect: SetSynced comes after everything else, the answer about the Node included. A Service
// whose slices are still to come looks like one without endpoints, and its connections would be refused.
//
// # Decisions
//
// A reflector of client-go feeds the Tracker, without an informer in between: an informer keeps a second copy
// of the cluster, and a queue, for handlers that ask for objects by name. Nobody does that here. The initial
// state is streamed where the server can do it (KEP-3157, what client-go asks for first), so that not even
// during the start all objects are in memory; else the reflector lists and watches.
//
// The client is made of two bare REST clients that know the three kinds. A clientset knows sixty API groups
// and drags in the machinery of OpenAPI for discovery, which is never used.
package kube
