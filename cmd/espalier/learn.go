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
		lacked, then := k.lacked(f)
		if !*lacked {
			*lacked = true
			klog.InfoS("The kernel lacks something that rules use; they do without", "family", kernel.Family,
				"lacks", f, "then", then, "because", why)
		}
	}
	return k.lacks != before
}

// lacked returns where it stands that the kernel lacks a feature, and what is otherwise then; see plan.Lacks.
func (k *kernelFacts) lacked(f iptables.Feature) (at *bool, then string) {
	switch f {
	case iptables.Recent:
		return &k.lacks.Recent, "clients do not stay with an endpoint (sessionAffinity)"
	case iptables.Statistic:
		return &k.lacks.Statistic, "this node sends all connections to a Service to one of its endpoints"
	case iptables.AddrType:
		return &k.lacks.AddrType, "node ports answer on the addresses that the node has now"
	default: // iptables.Reject
		return &k.lacks.Reject, "connections to Services without endpoints are not refused, but dropped"
	}
}
