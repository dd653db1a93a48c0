package main

import (
	"context"

	"k8s.io/klog/v2"

	"espalier/proxier/iptables"
)

// learn finds out what the kernel lacks of what rules use, and reports whether that is more than was known. What it
// lacks once it lacks until the process ends: modules do not come by themselves.
func (k *kernelFacts) learn(ctx context.Context, kernel *iptables.Kernel) bool {
	lacks, err := kernel.Lacks(ctx)
	if err != nil {
		klog.V(2).InfoS("Cannot find out what the kernel lacks", "family", kernel.Family, "because", err)
		return false
	}
	before := k.lacks
	for f, why := range lacks {
		was := *k.lacked(f)
		*k.lacked(f) = true
		if !was {
			klog.InfoS("The kernel lacks something that rules use; they do without", "family", kernel.Family,
				"lacks", f, "then", without[f], "because", why)
		}
	}
	return k.lacks != before
}

func (k *kernelFacts) lacked(f iptables.Feature) *bool {
	return map[iptables.Feature]*bool{
		iptables.Recent: &k.lacks.Recent, iptables.Statistic: &k.lacks.Statistic,
		iptables.AddrType: &k.lacks.AddrType, iptables.Reject: &k.lacks.Reject,
	}[f]
}

// without says what is otherwise where the kernel lacks a feature; see plan.Lacks.
var without = map[iptables.Feature]string{
	iptables.Recent:    "clients do not stay with an endpoint (sessionAffinity)",
	iptables.Statistic: "this node sends all connections to a Service to one of its endpoints",
	iptables.AddrType:  "node ports answer on the addresses that the node has now",
	iptables.Reject:    "connections to Services without endpoints are not refused, but dropped",
}
