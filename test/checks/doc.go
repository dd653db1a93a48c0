// Package checks lists what a replacement of kube-proxy is accepted by, and which tests show it: the checks of the
// drop-in contract, and the places where we do otherwise than kube-proxy on purpose, because it does worse.
//
// There is no code in this package. Its tests know where the other tests are, and that they are there; they do not run
// them. The rule to respect: whoever renames a test finds it here.
package checks
