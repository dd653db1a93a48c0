// Package recorded has what kube-proxy 1.37.2 left in a kernel, as iptables-save text, and the clusters that it was
// made for.
//
// The rules were recorded once by ./record, which says how, from the real program against the API server of package kubetest,
// with the rules of a kubelet in the kernel before.
//
// iptables-nft and iptables-legacy print the same lines for them, in another order and with other counters, so one text is kept
// of both: without counters, each chain's line right before its rules, and each chain behind those that it jumps to. The
// order of chains means nothing. That of rules is as printed, but for the rules of a Service among those of others: kube-proxy
// takes the Services in another order each time. This way the text can be cut anywhere between two chains, compresses well, and comes
// out the same when it is recorded again.
//
// The package knows Services and lines of text. It does not know what the lines mean, nor who replaces them.
//
// The one rule to respect: what is recorded is never edited. If the cluster changes, record again.
package recorded
