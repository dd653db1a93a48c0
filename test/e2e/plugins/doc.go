// Package plugins puts on a node what network plugins, the kubelet and firewalld put there: rules of iptables, sets,
// rules of routing and sysctls, as the documentation and the source of each state them in its usual configuration.
//
// It is written from what these programs do, in text of our own; each group of rules says why the program has it and
// where that is stated (repository: path). What it stands for is the kernel's view of a program, which cannot be told
// from the real one by its rules: Load is what the program does when it starts, Reassert what it does again and again
// while it runs, Unload leaves nothing of it behind.
//
// The marks that they use, of the 32 bits of a packet. Ours is 0x4000; kube-proxy once used 0x8000, too, to drop:
//
//	Flannel     reads 0x4000, to leave alone what the service proxy masquerades; sets none
//	Calico      0x000f0000 (0x10000 accepted, 0x20000 passed, 0x40000 from a pod, 0x80000 spare), within its 0xffff0000
//	Weave Net   0x40000 (egress is allowed); with encryption 0x20000
//	Cilium      0x00000f00, and the identity of the sender in 0xffff0000; in 0x0000ff00 it steps around 0x4000 and 0x8000
//	portmap     0x2000 (masquerade a host port)
//	kubelet     none, since it left masquerading to the service proxy
//	firewalld   none, unless a rich rule asks for one
//
// None sets or clears 0x4000 or 0x8000, but for what Cilium hands to its own proxy: of that it writes the whole mark,
// before a packet meets the service proxy. Two programs that use 0x40000 (Calico and Weave Net) are not run together.
//
// The package does not know what a Service is, nor whether a packet gets through; see the tests of package e2e.
//
// The one rule to respect: the text of a rule is what iptables-save prints of it, or the plugin does not find its own.
package plugins
