package main

import (
	"context"
	"sync"

	"k8s.io/klog/v2"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/syncer"
)

// leftovers removes what kube-proxy left on the node in its nftables mode, as soon as the rules of all families are in the
// kernel. kube-proxy does that at its start, and until its own rules are written, there are none.
type leftovers struct {
	ctx context.Context

	mu      sync.Mutex
	missing map[ipproto.Family]bool // those without rules
}

func newLeftovers(ctx context.Context, kernels []*iptables.Kernel) *leftovers {
	l := &leftovers{ctx: ctx, missing: map[ipproto.Family]bool{}}
	for _, k := range kernels {
		l.missing[k.Family] = true
	}
	return l
}

// report takes the report of a sync.
func (l *leftovers) report(done syncer.Report) {
	if done.Err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.missing[done.Family] {
		return
	}
	if delete(l.missing, done.Family); len(l.missing) == 0 {
		go l.remove()
	}
}

func (l *leftovers) remove() {
	removed, err := iptables.RemoveNFTablesMode(l.ctx)
	if len(removed) > 0 {
		klog.InfoS("Removed what kube-proxy left in its mode nftables", "tables", removed)
	}
	if err != nil && l.ctx.Err() == nil {
		klog.ErrorS(err, "Cannot remove what kube-proxy may have left in its mode nftables")
	}
}
