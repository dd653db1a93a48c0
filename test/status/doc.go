// Package status has tests of what the real program shows over HTTP: probes and metrics of a process that follows an
// API server and programs a kernel, both in a network namespace of the test.
//
// The API server is kubetest; iptables is the machine's, with a script in front of it that can make it fail as it does
// where another program holds its lock, or where the kernel refuses a rule.
//
// What kube-proxy 1.37.2 answers in the same scenes is in testdata/kube-proxy-1.37.2. It was recorded on 2026-11-25, with
// Linux 6.18 and iptables 1.8.9 (nf_tables); see TestLikeKubeProxy.
package status
