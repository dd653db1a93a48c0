package status

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"espalier/proxier/health"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
)

// Status collects what the process shows. Its methods can be called from any goroutine. Make it with New.
type Status struct {
	facts    Facts
	started  time.Time
	registry *prometheus.Registry
	slis     *prometheus.Registry
	sync     syncMetrics
	own      ownMetrics
	probes   probeMetrics

	mu       sync.Mutex
	families []*Family
}

// Facts are what a Status knows of the rest of the process.
type Facts struct {
	// Version is that of the binary.
	Version string
	// Node is the name of the node.
	Node string
	// Gates are the feature gates.
	Gates []Gate
	// Health returns how the families are. Nil: nothing is known of it.
	Health func() []health.Family
	// Events returns how many Services and EndpointSlices the source has reported, changes or not.
	Events func() (services, slices uint64)
	// Problems returns what is wrong with objects at the moment.
	Problems func() []model.Problem
	// Counters reads the packets of those nfacct objects that there are, by name.
	Counters func() map[string]uint64
	// Services reads what the rules of a family have counted for each frontend. Nil: that is not shown, as it reads
	// all rules at each scrape.
	Services func(ipproto.Family) map[plan.Frontend]Count
}

// Gate is a feature gate. Its stage is ALPHA, BETA, DEPRECATED, or empty: generally available.
type Gate struct {
	Name, Stage string
	On          bool
}

// Count is what rules have counted: the first packet of each connection, because no other passes the nat table.
type Count struct{ Packets, Bytes uint64 }

// New returns a Status that has no family yet.
func New(facts Facts) *Status {
	s := &Status{facts: facts, started: time.Now(), registry: prometheus.NewRegistry(), slis: prometheus.NewRegistry()}
	s.sync = newSyncMetrics(s.registry)
	s.own = newOwnMetrics(s.registry)
	s.probes = newProbeMetrics(s.registry, s.slis)
	s.registry.MustRegister(scrape{s})
	registerProcess(s.registry, facts.Version)
	return s
}

// Waiting is what has been reported of one family and is in no sync yet.
type Waiting struct {
	Services, Slices int // changes
	// Latest is when the latest change arrived, also one that a sync has taken.
	Latest time.Time
}

// Start adds a family whose syncer begins to work. It asks waiting at each scrape.
func (s *Status) Start(f ipproto.Family, waiting func() Waiting) *Family {
	one := &Family{Family: f, status: s, label: label(f), started: time.Now(), waiting: waiting, gaps: noGaps()}
	s.own.start(one.label)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.families = append(s.families, one)
	slices.SortFunc(s.families, func(a, b *Family) int { return int(a.Family) - int(b.Family) })
	return one
}

// all returns the families.
func (s *Status) all() []*Family {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.families)
}

// Answered counts an answer of a probe.
func (s *Status) Answered(path string, code int) {
	answers := s.probes.healthz
	if path == health.Livez {
		answers = s.probes.livez
	}
	answers.WithLabelValues(strconv.Itoa(code)).Inc()
}

// Conntrack counts a clean-up of connections of one family, and how many it deleted.
func (s *Status) Conntrack(f ipproto.Family, took time.Duration, deleted int) {
	s.sync.conntrackDuration.WithLabelValues(label(f)).Observe(took.Seconds())
	s.sync.conntrackDeleted.WithLabelValues(label(f)).Add(float64(deleted))
}

// label is the family as kube-proxy spells it.
func label(f ipproto.Family) string {
	if f == ipproto.IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// probeMetrics count answers.
type probeMetrics struct {
	healthz, livez *prometheus.CounterVec
	check          *prometheus.GaugeVec
	checks         *prometheus.CounterVec
}

func newProbeMetrics(r, slis *prometheus.Registry) probeMetrics {
	m := probeMetrics{
		healthz: counter(r, healthzAnswers, alpha+"Answers of "+health.Healthz+" by HTTP status.", "code"),
		livez:   counter(r, livezAnswers, alpha+"Answers of "+health.Livez+" by HTTP status.", "code"),
		check:   gauge(slis, healthcheck, "[STABLE] The result of a check: 1 is good.", "name", "type"),
		checks:  counter(slis, healthchecks, "[STABLE] Results of checks.", "name", "type", "status"),
	}
	return m
}

// ping counts a question to the metrics server whether it is there. It is, since it answers.
func (m probeMetrics) ping(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m.check.WithLabelValues("ping", "healthz").Set(1)
		m.checks.WithLabelValues("ping", "healthz", "success").Inc()
		h(w, r)
	}
}
