package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"k8s.io/klog/v2"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// addresses tells a syncer when the node's addresses of its family change, and calls moved then. Nil, which never tells,
// where node ports answer on every address, whichever these are: then the rules do not name any.
func (r *run) addresses(ctx context.Context, f ipproto.Family, moved func()) <-chan struct{} {
	changed := make(chan struct{}, 1)
	go followAddresses(ctx, f, func() {
		moved()
		tell(changed)
	})
	if cfg, err := r.data.config(model.Node{}, f, kernelFacts{}); err == nil && cfg.EveryAddress() {
		return nil
	}
	return changed
}

// followAddresses listens to the kernel until ctx ends. Whoever cannot listen learns of addresses with the next sync.
func followAddresses(ctx context.Context, f ipproto.Family, changed func()) {
	const again = 30 * time.Second
	failed := func(err error) {
		if ctx.Err() != nil {
			return // the socket was closed, by us
		}
		klog.V(2).InfoS("Cannot follow the addresses of this node; will try again", "family", f, "because", err)
	}
	for ctx.Err() == nil {
		updates := make(chan netlink.AddrUpdate)
		done := make(chan struct{})
		err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{ErrorCallback: failed})
		if err != nil {
			failed(err)
		} else {
			changed() // of what changed while nobody listened
			pass(ctx, f, updates, changed)
		}
		close(done)
		wait(ctx, again)
	}
}

// pass passes on that there was something of the family, until the kernel's end is closed or ctx ends.
func pass(ctx context.Context, f ipproto.Family, updates <-chan netlink.AddrUpdate, changed func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case u, open := <-updates:
			if !open {
				return
			}
			if a, ok := netip.AddrFromSlice(u.LinkAddress.IP); ok && ipproto.FamilyOf(a) == f {
				changed()
			}
		}
	}
}

func tell(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default: // the reader has not taken the last token yet
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
