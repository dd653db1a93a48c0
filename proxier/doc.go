// Package proxier and the packages below it turn the Services of a cluster into iptables rules of a node. There is
// no code in this package; this is the map of the others, and the list of decisions that bind them.
//
// # Architecture
//
// The core is pure: functions of values, without clock, logger, process or API. What touches the outside is thin,
// and is at the edge.
//
//	ipproto     Family and Proto                                                        pure
//	model       Services, endpoints and the node as checked values; Snapshot, Step      pure
//	ruleset     rules and chains as values; writes them, reads iptables-save            pure
//	plan        which rules a Service gets: Plan for a Snapshot, Planner for a Step     pure
//	delta       what to write to get from some rules to others, in which order          pure
//	trace       walks rules with a virtual packet                                       pure
//	iptables    Save, Restore, backends, probes, Cleanup: all processes are started here
//	generation  whether somebody else wrote to the tables
//	ipvsmode    what kube-proxy's mode ipvs left beside rules
//	nfacct      counters of the kernel that rules name
//	sysctl      settings of the kernel: conntrack, route_localnet
//	health      answers probes, and at the health-check node ports of Services
//	conntrack   deletes UDP connections that no rule would make any more
//	status      metrics and the status page, made of the syncers' Reports
//	serve       keeps the HTTP servers for both running
//	syncer      one goroutine for each family: wait, plan, write, report
//
// Beside it, ../watcher has the sources (informers, files, synthetic clusters), which all feed a Tracker, and
// watcher/convert, the one place that reads fields of API objects; ../watcher/kube/events tells the cluster what
// happened. ../cmd wires these; imports point one way:
//
//	cmd → watcher/{kube,file} → watcher/convert → model       watcher, watcher/synthetic → model
//	cmd → syncer → plan, delta → ruleset, model → ipproto     cmd → iptables → delta
//	cmd → status → syncer, health → model                     cmd → serve, conntrack → model
//
// Every command is a composition of the same functions, so none has a mode flag:
//
//	dump     source → plan.Plan → delta.Between(nothing) → print
//	run      source → Tracker → Planner → Batch → Restore; and again; beside it, what changed → conntrack
//	diff     Save, plan.Plan → delta.Between → Show
//	explain  Save, or source → plan.Plan → trace.Walk → print
//	cleanup  Save → delta.Removal → Restore
//
// The path of one change: the source converts the object and gives it to the Tracker, which compares it with what
// it had, and puts one token into a channel of capacity 1: a thousand changes are one wake-up. The syncer takes
// the Step, the Planner plans the Services in it and finds the chains of the dispatch trees above them, and what
// differs is one small restore. Nothing in this path looks at the other Services. A whole sync, which reads the
// kernel back and compares all, comes first, after a failure, and when the node changed.
//
// # Decisions
//
// 2026-11: Trees whose levels end at fixed bits. A chain is divided into at most 16 parts by the next four bits
// of the address, the protocol, or the next four bits of the port; a part that holds at most 24 entries is not
// divided. The content of a chain depends only on what is below it. With levels counted from the top of each
// branch, the first Service with an address in another range would have moved every chain of the tree.
//
// 2026-11: Groups of endpoints by hash. Past 32 endpoints a service chain chooses among groups,
// and these among endpoints. Groups are made by a hash of the endpoint, so a changed endpoint rewrites its own
// group and the shares above it. What we gave up: with affinity and many endpoints, a client that is remembered
// by several endpoints goes to the first by hash, where kube-proxy takes the first by text.
//
// 2026-11: Masquerading is marked once for each leaf, in front of its cluster IPs, and unmarked behind them. The
// mark of a packet that brought it along and asks for an unused port next to a cluster IP is lost.
//
// 2026-11: Jumps from built-in chains are part of the restore input, not commands of their own. go-iptables, which
// finds out versions and backends, would need two processes for each of the 14 jumps, and on the legacy backend each
// of them copies the whole table. In the input they also take effect in the same moment as what they lead to.
//
// 2026-11: The filter table has inner chains with the prefixes KUBE-SVC-, KUBE-EXT-, KUBE-FW-, KUBE-SVL- and
// KUBE-SEP- too. kube-proxy sweeps such chains from the nat table only; after a takeover by it, those in filter
// stay behind unused until cleanup.
//
// 2026-11: One configuration. Flags and kube-proxy's file are resolved into one checked value (cmd/espalier/config), with
// kube-proxy's types, so that nothing has to be said twice, and what came of 200 inputs could be compared with what
// kube-proxy makes of them. A least time between writes is obeyed only if somebody gave one: kube-proxy's second is for its
// own price of a write.
//
// 2026-11: route_localnet is set after the rule that guards it, not at the start; whether it can be set is found out at the
// start. What kube-proxy's nftables mode left is deleted after our rules are there, not before.
//
// 2026-11: A Planner remembers prints of chains, not their rules: two 64-bit hashes. A whole sync plans anew, into
// a new Planner, so nothing that a Planner remembers outlives the knowledge of what the kernel holds.
//
// 2026-11: A change in which some Services lose their endpoints and others gain them is written in two inputs: a REJECT goes
// only after the DNAT is there that replaces it. A packet between the two, with neither, would leave the node untranslated, and
// the kernel would keep to that for the whole connection: one client in a test of a cluster waited for 20 seconds.
//
// 2026-11: Jumps keep their order, and one that was moved away from our others, behind rules that stood behind it, is put
// back, once for each such rule. A rule that is new in front of ours may stay: an administrator has put it there. So may
// one that came to the front of all of ours: Calico, Cilium and Weave Net put theirs there, and must be in front of
// KUBE-FORWARD, or what it accepts by its mark passes by their NetworkPolicies. What we gave up: where a chain has one jump
// of ours, it looks the same when that is moved, and it stays where it is, as with kube-proxy.
//
// 2026-11: With the legacy backend the kernel tells cheaply how long a table is, and nothing else. So its content is
// read as the kernel has it and hashed, for at most a fiftieth of the time; iptables-save with its text costs many
// times that. See generation.Print.
//
// 2026-11: What a kernel lacks (xt_recent, say) is asked when rules were refused, not at start: then each match is
// loaded for itself, and what is missing is planned without, before any Service is suspected. Asked at start, it would
// make every restart write to the kernel. xt_bpf and nfacct are asked at start, unless rules that stand there prove
// them.
//
// 2026-11: Affinity is written as two matches, --rcheck --reap and --set, although --update --reap does the same in one:
// before Linux 5.11 that combination could crash the kernel (xt_recent: fix attempt to update deleted entry).
//
// 2026-11: Probes and metrics are served from the start on. kube-proxy listens when it knows its Node: with a
// livenessProbe, and an API server that is away, the kubelet then restarts it again and again. What arrives during a
// sync is pending after it, and what a failed sync took stays so; in kube-proxy the sync clears both.
//
// 2026-11: Conntrack is cleaned by one reading of the table for all that has changed, on a goroutine of its own. Looking
// for the flows of single frontends would be less to send, and stall packets: see filtered in conntrack. What we gave up:
// on a node with a million entries, of which hardly any is of UDP, a change of UDP costs two seconds of processor time.
//
// 2026-11: The process ends when its Node gets other addresses, or other pod ranges that rules depend on, or is deleted,
// as kube-proxy does. Rules alone would follow in place: a plan for another node is another plan. But the primary
// family, the families that are served, listeners, and the checks of the configuration come of these facts too, once;
// half a process that was set up for another node is nobody's wish, and supervisors and alerts know the exit. A start
// that finds the right rules writes nothing, so that it costs a second and no connection. What rules only match by, the
// zone, is followed in place. Between the end and the next start, the rules of the old node stay.
//
// 2026-11: No rule is written before the API server has said what it knows of the own Node, even if nothing but the Node
// is forbidden: without it, topology, node ports and the masquerading of traffic from outside may be wrong, and the
// kernel's old rules are better. If there is no Node, or none with an address, it goes on after 30 seconds.
//
// 2026-11: Where kube-proxy is known to do worse, we do otherwise: --nodeport-addresses=primary without a known
// address opens nothing, instead of every address; source ranges of which none can be read admit nobody, instead
// of everybody; affinity without a timeout is three hours, instead of a panic; every failed sync is tried again.
package proxier
