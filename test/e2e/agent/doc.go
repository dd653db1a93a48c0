// Package agent does on a node what the kubelet and a container runtime do there, as far as Services can tell: it
// registers the Node and keeps it alive, runs the pods that are bound to it as processes, each in the network namespace
// that the wire made for it, reports what became of them, and deletes them in order.
//
// One goroutine has all that is known of a pod (see worker); processes, probes and the API server only send it events.
// While the API server is away, pods run on, crash and are restarted, and what is to be reported is reported when it is
// back.
//
// It does not know what containers do: an image is a name that package pods knows. There are no volumes, init containers,
// liveness or exec probes, resources, or image pulls; whoever asks for what would make a difference is told so in the pod's
// status.
//
// The one rule to respect: nothing outlives Run. When it returns, every process and namespace of the node's pods is gone.
package agent
