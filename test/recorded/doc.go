// Package recorded has what kube-proxy 1.37.2 left in a kernel, as iptables-save text, and the clusters that it was
// made for.
//
// The rules were recorded once, from the real program against the API server of package kubetest, with the rules of a
// kubelet in the kernel before. To record them again (root, a quarter of an hour):
//
//	go build -C test/e2e -o /tmp/kube-proxy k8s.io/kubernetes/cmd/kube-proxy
//	go test ./test/recorded -run TestRecord -record /tmp/kube-proxy -timeout 2h
//
// iptables-nft and iptables-legacy print the same lines for them, in another order and with other counters; TestRecord
// fails if they do not. So one text is kept of both: without counters, each chain's line right before its rules, and
// each chain behind those that it jumps to. The order of chains means nothing, that of rules is as printed. This way the text
// compresses well, and can be cut anywhere between two chains.
//
// The package knows Services and lines of text. It does not know what the lines mean, nor who replaces them.
//
// The one rule to respect: what is recorded is never edited. If the cluster changes, record again.
package recorded
