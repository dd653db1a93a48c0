package status

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"espalier/proxier/model"
	"espalier/proxier/syncer"
)

// maxNamed bounds how many Services in quarantine are named in metrics: each is a series.
const maxNamed = 100

// ownMetrics are those that kube-proxy does not have.
type ownMetrics struct {
	stages, lockWait            *prometheus.HistogramVec
	commits, bytes              *prometheus.CounterVec
	foreign, repairs            *prometheus.CounterVec
	repairedChains, jumps       *prometheus.CounterVec
	quarantined, quarantineInfo *prometheus.GaugeVec
	programmed                  *prometheus.GaugeVec
}

func newOwnMetrics(r *prometheus.Registry) ownMetrics {
	return ownMetrics{
		stages:         histogram(r, stageDuration, "Time of the stages of syncs: plan decides about rules, read asks the kernel for those that it has, write runs iptables-restore.", syncBuckets(), "stage", familyLabel),
		lockWait:       histogram(r, lockWait, "Time for which others held the lock of the tables when a sync was about to write; the legacy backend alone has one.", syncBuckets(), familyLabel),
		commits:        counter(r, commits, "COMMITs that were given to iptables-restore.", familyLabel),
		bytes:          counter(r, writtenBytes, "Bytes that were given to iptables-restore.", familyLabel),
		foreign:        counter(r, foreignWrites, "Times that others were found to have written to the tables, whatever they wrote; with nft the kernel does not say to those of which family.", familyLabel),
		repairs:        counter(r, repairs, "Times that rules of ours had to be put right because others had changed them.", familyLabel),
		repairedChains: counter(r, repairedChains, "Chains that were written or removed in repairs.", familyLabel),
		jumps:          counter(r, repairedJumps, "Jumps from built-in chains that were inserted in repairs.", familyLabel),
		quarantined:    gauge(r, quarantined, "Services that are not programmed because the kernel refuses their rules.", familyLabel),
		quarantineInfo: gauge(r, quarantinedInfo, "1 for each Service that is not programmed because the kernel refuses its rules; the first hundred by name.", familyLabel, "namespace", "service"),
		programmed:     gauge(r, programmed, "Services that the last successful sync left with rules in the kernel.", familyLabel),
	}
}

// start begins to count for a family. Unlike those of kube-proxy, these counters are there before there is anything to
// count: the first event would else not be seen as an increase.
func (m ownMetrics) start(label string) {
	for _, v := range []*prometheus.CounterVec{m.commits, m.bytes, m.foreign, m.repairs, m.repairedChains, m.jumps} {
		v.WithLabelValues(label)
	}
}

func (m ownMetrics) report(label string, r syncer.Report) {
	for stage, took := range map[string]float64{"plan": r.Planning.Seconds(), "read": r.Reading.Seconds(), "write": r.Writing.Seconds()} {
		if took > 0 {
			m.stages.WithLabelValues(stage, label).Observe(took)
		}
	}
	if r.Input.LockWait > 0 {
		m.lockWait.WithLabelValues(label).Observe(r.Input.LockWait.Seconds())
	}
	m.commits.WithLabelValues(label).Add(float64(r.Input.Commits))
	m.bytes.WithLabelValues(label).Add(float64(r.Input.Bytes))
	if r.Foreign {
		m.foreign.WithLabelValues(label).Inc()
	}
	if r.IsRepair() {
		m.repairs.WithLabelValues(label).Inc()
		m.repairedChains.WithLabelValues(label).Add(float64(r.Written + r.Deleted))
		m.jumps.WithLabelValues(label).Add(float64(r.Jumps))
	}
	m.quarantined.WithLabelValues(label).Set(float64(len(r.Quarantined)))
	m.quarantineInfo.DeletePartialMatch(prometheus.Labels{familyLabel: label})
	for i, name := range byName(r.Quarantined) {
		if i == maxNamed {
			break
		}
		m.quarantineInfo.WithLabelValues(label, name.Namespace, name.Name).Set(1)
	}
	if r.Err == nil {
		m.programmed.WithLabelValues(label).Set(float64(r.Programmed))
	}
}

// byName returns the names in order.
func byName(q map[model.ServiceName]syncer.Quarantined) []model.ServiceName {
	return slices.SortedFunc(maps.Keys(q), model.ServiceName.Compare)
}

// The functions below make a metric and enter it. A name that is there twice is a bug, found by any start.

func counter(r *prometheus.Registry, name, help string, labels ...string) *prometheus.CounterVec {
	return registered(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

func gauge(r *prometheus.Registry, name, help string, labels ...string) *prometheus.GaugeVec {
	return registered(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
}

// histogram makes one with fixed buckets, and with native ones for a Prometheus that asks for protobuf.
func histogram(r *prometheus.Registry, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return registered(r, prometheus.NewHistogramVec(histogramOptions(name, help, buckets), labels))
}

func histogramOptions(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
	}
}

func registered[C prometheus.Collector](r *prometheus.Registry, c C) C {
	r.MustRegister(c)
	return c
}
