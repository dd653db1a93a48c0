// Package events tells the API server what an operator should see with "kubectl events": that the proxy started,
// what it cannot do, and about which object.
//
// It knows how Events of events.k8s.io/v1 are written: what repeats becomes a series, what cannot be sent is tried
// again for a while. It does not know what there is to tell. Nobody waits for it: events are given into a queue that
// drops what does not fit, and nothing depends on whether they arrive.
//
// The one rule to respect: a note is data. Whatever the kernel, the API or a file said can be in it, so that it is
// never a format, and is cut and cleaned before it is sent.
//
// # Decisions
//
// 2026-11: Not client-go's tools/events. It is built on the clientset with its sixty API groups, which made the
// binary 25 MB larger (31 to 56 MB) and the process 12 MB at start; this package and the type Event cost 0.2 MB.
// Series, queue and retries follow it, since that is what dashboards and people know; a series is patched with a
// JSON merge patch instead of a strategic one.
//
// 2026-11: The reporting controller is kube-proxy, as everybody's queries and dashboards have it. What runs here is
// said by the user agent, and by the note of the first event.
package events
