// Package status shows what the process does: as metrics, and as a page for people.
//
// Everything comes from the Reports of the syncers, one at a time, and from what is asked at the moment of a scrape:
// what waits, and the counters of the kernel. It does not know rules, sources or the kernel's tables, and nothing in
// here looks at all Services because one of them changed.
//
// Names, types, labels and buckets of the metrics that begin with kubeproxy_, kubernetes_ and rest_client_ are those
// of kube-proxy in iptables mode (kubernetes: pkg/proxy/metrics), so that dashboards and alerts stay as they are. What
// kube-proxy does not have begins with espalier_.
//
// The one rule to respect: a series of kube-proxy appears when there is something to say, and not before, as it does
// there: alerts use absent().
//
// # Decisions
//
// 2026-11: prometheus/client_golang without k8s.io/component-base/metrics. That adds 1 MB to the binary and 2 MB to the
// memory at rest, and brings a registry that is a package variable and fills itself where packages are linked in.
// What we gave up: flags that hide metrics of a release, and metrics about metrics.
//
// 2026-11: z-pages as objects without k8s.io/apiserver, which has them, and with them half of an API server. What it does
// for these two pages is zpages.go; that the answers are the same is compared with a recording of kube-proxy.
package status
