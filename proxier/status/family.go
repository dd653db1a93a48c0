package status

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/syncer"
)

// Family is what is shown of one family. One goroutine gives it Reports.
type Family struct {
	Family  ipproto.Family
	status  *Status
	label   string
	started time.Time
	waiting func() Waiting
	gaps    gaps

	mu   sync.Mutex
	last syncer.Report // without what is as long as the cluster is large
	good time.Time     // when the last successful sync ended
	bad  time.Time     // when the first of the syncs ended that failed since then
	sums sums
}

// sums are what a family did since the process started.
type sums struct {
	Syncs, Failed, Whole, Foreign, Repairs int
	Commits                                int
	Bytes                                  int64
}

// syncMetrics are those of kube-proxy that are fed by Reports.
type syncMetrics struct {
	duration, full, partial          *prometheus.HistogramVec
	programming                      *prometheus.HistogramVec
	last                             *prometheus.GaugeVec
	restoreFailures, partialFailures *prometheus.CounterVec
	rulesTotal, rulesLast, noLocal   *prometheus.GaugeVec
	conntrackDuration                *prometheus.HistogramVec
	conntrackDeleted                 *prometheus.CounterVec
}

func newSyncMetrics(r *prometheus.Registry) syncMetrics {
	return syncMetrics{
		duration:          histogram(r, syncDuration, alpha+"Time of a sync, successful or not.", syncBuckets(), familyLabel),
		full:              histogram(r, fullSyncDuration, alpha+"Time of a sync that reads the kernel back and compares everything.", syncBuckets(), familyLabel),
		partial:           histogram(r, partialSyncDuration, alpha+"Time of a sync of the Services that changed.", syncBuckets(), familyLabel),
		programming:       histogram(r, programming, alpha+"Time from a change of endpoints, by the control plane's clock, to the rules in the kernel.", programmingBuckets(), familyLabel),
		last:              gauge(r, lastSync, alpha+"When a sync last succeeded.", familyLabel),
		restoreFailures:   counter(r, restoreFailures, alpha+"Writes that iptables-restore refused, or that failed otherwise.", familyLabel),
		partialFailures:   counter(r, partialFailures, alpha+"Syncs of changed Services that failed; a sync of everything follows each.", familyLabel),
		rulesTotal:        gauge(r, rulesTotal, alpha+"Rules that the node should have, without the jumps from built-in chains.", "table", familyLabel),
		rulesLast:         gauge(r, rulesLast, alpha+"Rules that the last sync wrote.", "table", familyLabel),
		noLocal:           gauge(r, noLocalEndpoints, alpha+"Ports of Services with traffic policy Local that have endpoints, but none on this node.", "traffic_policy", familyLabel),
		conntrackDuration: histogram(r, conntrackDuration, alpha+"Time of a clean-up of stale connections.", syncBuckets(), familyLabel),
		conntrackDeleted:  counter(r, conntrackDeleted, alpha+"Stale connections that were deleted.", familyLabel),
	}
}

// Report shows what a sync did.
func (f *Family) Report(r syncer.Report) {
	m := f.status.sync
	seconds := r.Took.Seconds()
	m.duration.WithLabelValues(f.label).Observe(seconds)
	if r.Whole {
		m.full.WithLabelValues(f.label).Observe(seconds)
	} else {
		m.partial.WithLabelValues(f.label).Observe(seconds)
	}
	if r.Refusals > 0 {
		m.restoreFailures.WithLabelValues(f.label).Add(float64(r.Refusals))
	}
	if r.StepFailed {
		m.partialFailures.WithLabelValues(f.label).Inc()
	}
	if r.Rules != (syncer.Counts{}) {
		f.counts(m.rulesTotal, r.Rules)
		f.counts(m.rulesLast, r.Payload)
	}
	f.gaps.follow(r)
	if r.Err == nil {
		m.last.WithLabelValues(f.label).Set(float64(r.Began.Add(r.Took).UnixNano()) / 1e9)
		m.noLocal.WithLabelValues("internal", f.label).Set(float64(f.gaps.sum.Internal))
		m.noLocal.WithLabelValues("external", f.label).Set(float64(f.gaps.sum.External))
	}
	f.status.own.report(f.label, r)
	f.remember(r)
}

// Programmed shows how long changes took from when they happened to now.
func (f *Family) Programmed(happened []time.Time) {
	for _, at := range happened {
		f.status.sync.programming.WithLabelValues(f.label).Observe(time.Since(at).Seconds())
	}
}

func (f *Family) counts(v *prometheus.GaugeVec, c syncer.Counts) {
	v.WithLabelValues("filter", f.label).Set(float64(c.Filter))
	v.WithLabelValues("nat", f.label).Set(float64(c.Nat))
}

// remember keeps a report for the page.
func (f *Family) remember(r syncer.Report) {
	r.Services, r.Repaired, r.Found = nil, nil, nil
	end := r.Began.Add(r.Took)
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Err == nil {
		f.good, f.bad = end, time.Time{}
	} else {
		// What is in the kernel is what the last good sync said; and nothing is known of what nobody could plan.
		r.Programmed, r.Rules = f.last.Programmed, f.last.Rules
		if f.bad.IsZero() {
			f.bad = end
		}
	}
	f.last = r
	f.sums.add(r)
}

func (s *sums) add(r syncer.Report) {
	s.Syncs++
	s.Commits += r.Input.Commits
	s.Bytes += r.Input.Bytes
	if r.Err != nil {
		s.Failed++
	}
	if r.Whole {
		s.Whole++
	}
	if r.Foreign {
		s.Foreign++
	}
	if r.IsRepair() {
		s.Repairs++
	}
}

// gaps has the Services with traffic that only endpoints of this node may get, and that has none.
type gaps struct {
	of  map[model.ServiceName]plan.Gaps
	sum plan.Gaps
}

func noGaps() gaps { return gaps{of: map[model.ServiceName]plan.Gaps{}} }

// follow brings the gaps up to date. It looks at the Services of the report alone.
func (g *gaps) follow(r syncer.Report) {
	if r.Whole {
		*g = noGaps()
	}
	for name, e := range r.Services {
		has := plan.GapsOf(e, r.Node)
		g.sum = g.sum.Replace(g.of[name], has)
		if has == (plan.Gaps{}) {
			delete(g.of, name)
		} else {
			g.of[name] = has
		}
	}
}
