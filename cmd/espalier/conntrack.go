package main

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"espalier/proxier/conntrack"
	"espalier/proxier/ipproto"
	"espalier/proxier/status"
	"espalier/proxier/syncer"
)

// cleanConntrack starts to clean the conntrack table of one family, until ctx ends. The cleaner wants to be told of every
// sync, in order, and when the node's addresses change. Observe sees what each of its runs did.
func cleanConntrack(ctx context.Context, f ipproto.Family, observe func(conntrack.Report)) *conntrack.Cleaner {
	var log conntrackLog
	cleaner := conntrack.New(conntrack.Config{
		Family: f,
		Report: func(r conntrack.Report) {
			log.report(r)
			observe(r)
		},
		Stale: func(s conntrack.Flow) {
			if v := klog.V(6); v.Enabled() {
				v.InfoS("Stale in conntrack", "family", f, "from", s.Src, "to", s.Dst, "answeredBy", s.ReplySrc)
			}
		},
	})
	go cleaner.Run(ctx)
	return cleaner
}

// countConntrack returns what counts the runs of a cleaner. The time of one that failed says nothing; what it deleted
// is counted with the next.
func countConntrack(s *status.Status) func(conntrack.Report) {
	deleted := 0
	return func(r conntrack.Report) {
		deleted += r.Deleted
		if r.Err != nil {
			return
		}
		s.Conntrack(r.Family, r.Took, deleted)
		deleted = 0
	}
}

// conntrackSync is what the cleaner has to know of a sync.
func conntrackSync(done syncer.Report) conntrack.Sync {
	family, config, node := done.Family, done.Config, done.Node
	return conntrack.Sync{
		Failed:        done.Err != nil,
		Whole:         done.Whole,
		Services:      done.Services,
		Found:         done.Found,
		Repaired:      done.Whole && done.Wrote(),
		NoExternalIPs: config.NoExternalIPs,
		NodePorts: func() (conntrack.Addresses, error) {
			addrs := config.NodePortAddrs(node, family)
			if config.EveryAddress() {
				var err error
				if addrs, err = interfaceAddrs(family); err != nil {
					return conntrack.Addresses{}, err
				}
			}
			return conntrack.NewAddresses(addrs, config.Localhost(family)), nil
		},
	}
}

// conntrackLog tells when the table cannot be cleaned, and when it can again.
type conntrackLog struct{ failing bool }

func (l *conntrackLog) report(r conntrack.Report) {
	switch {
	case r.Err != nil && !l.failing:
		klog.ErrorS(r.Err, "UDP clients may go on sending to endpoints that are gone: their conntrack entries cannot be deleted", "family", r.Family)
	case r.Err != nil:
		klog.V(2).ErrorS(r.Err, "Still cannot clean conntrack", "family", r.Family)
	case l.failing:
		klog.InfoS("Conntrack is clean again", "family", r.Family)
	}
	l.failing = r.Err != nil
	level := klog.Level(4)
	if r.Deleted > 0 {
		level = 2
	}
	klog.V(level).InfoS("Cleaned conntrack", "family", r.Family, "frontends", r.Frontends,
		"looked", r.Looked, "deleted", r.Deleted, "took", r.Took.Round(10*time.Microsecond))
}
