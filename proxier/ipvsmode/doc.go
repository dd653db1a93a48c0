// Package ipvsmode removes what kube-proxy's mode ipvs keeps in the kernel beside iptables rules: IP sets, virtual
// servers, and a device that has the addresses of Services (kubernetes: pkg/proxy/ipvs/cleanup.go).
//
// Its iptables chains are those of package ruleset, and are removed by package iptables. That has to come first: a set
// cannot be removed while a rule asks it.
//
// The one rule to respect: what others have stays. Sets are told by their whole names, as others begin with KUBE-, too;
// and virtual servers, which carry no name, are removed only where the device shows that kube-proxy made them. No module
// is loaded for it: without the module there is nothing to remove.
package ipvsmode
