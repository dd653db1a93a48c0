package status

import (
	"context"
	"math"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

// WatchClient counts what client-go does: requests to API servers, connections for them, and programs that it asks for
// credentials. client-go has one place for that in a process, which the first call takes; nothing changes by others.
func (s *Status) WatchClient() {
	r := s.registry
	expiry := &credentialExpiry{}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: execTTL, Help: alpha + "Time until the shortest-lived client certificate of a credential plugin expires; +Inf if there is none.",
	}, expiry.seconds))
	age := prometheus.NewHistogram(histogramOptions(execRotationAge, alpha+"Age of client certificates of credential plugins when they were replaced.", rotationBuckets()))
	gc := prometheus.NewCounter(prometheus.CounterOpts{Name: transportRotationGC, Help: alpha + "Times that the rotation of certificates ended because its transport was garbage."})
	entries := prometheus.NewGauge(prometheus.GaugeOpts{Name: transportEntries, Help: alpha + "Transports that are kept to be used again."})
	r.MustRegister(age, gc, entries)
	metrics.Register(metrics.RegisterOpts{
		RequestResult:      requestResult{counter(r, requests, alpha+"Requests to API servers by status, method and host.", "code", "method", "host")},
		RequestLatency:     latency{histogram(r, requestDuration, alpha+"Time of requests to API servers by verb and host.", requestBuckets(), "verb", "host")},
		RateLimiterLatency: latency{histogram(r, requestRateLimiter, alpha+"Time that requests were held back in this process, by verb and host.", requestBuckets(), "verb", "host")},
		RequestRetry:       retries{counter(r, requestRetries, alpha+"Requests to API servers that were sent again, by status, verb and host.", "code", "verb", "host")},
		RequestSize:        size{histogram(r, requestSize, alpha+"Size of requests to API servers by verb and host.", sizeBuckets(), "verb", "host")},
		ResponseSize:       size{histogram(r, responseSize, alpha+"Size of answers of API servers by verb and host.", sizeBuckets(), "verb", "host")},

		ClientCertExpiry:      expiry,
		ClientCertRotationAge: rotationAge{age},
		ExecPluginCalls:       execCalls{counter(r, execPluginCalls, alpha+"Calls of credential plugins by exit status and by what came of them.", "code", "call_status")},

		TransportCacheEntries:        cacheEntries{entries},
		TransportCreateCalls:         results{counter(r, transportCreated, alpha+"Transports that were asked for, by result: hit, miss, miss-gc, uncacheable.", "result")},
		TransportCacheGCCalls:        results{counter(r, transportGC, alpha+"Attempts to drop a kept transport that was garbage, by result.", "result")},
		TransportCAReloads:           reloads{counter(r, transportCAReloads, alpha+"Attempts to read the certificate authority again, by result and reason.", "result", "reason")},
		TransportCertRotationGCCalls: plain{gc},
	})
}

// credentialExpiry is when the client certificate of a credential plugin expires.
type credentialExpiry struct{ at atomic.Pointer[time.Time] }

// Set is metrics.ExpiryMetric.
func (e *credentialExpiry) Set(at *time.Time) { e.at.Store(at) }

func (e *credentialExpiry) seconds() float64 {
	if at := e.at.Load(); at != nil {
		return time.Until(*at).Seconds()
	}
	return math.Inf(1)
}

type rotationAge struct{ prometheus.Histogram }

// Observe is metrics.DurationMetric.
func (r rotationAge) Observe(d time.Duration) { r.Histogram.Observe(d.Seconds()) }

type execCalls struct{ *prometheus.CounterVec }

// Increment is metrics.CallsMetric.
func (c execCalls) Increment(code int, status string) {
	c.WithLabelValues(strconv.Itoa(code), status).Inc()
}

type cacheEntries struct{ prometheus.Gauge }

// Observe is metrics.TransportCacheMetric.
func (c cacheEntries) Observe(n int) { c.Set(float64(n)) }

// results counts by result.
type results struct{ *prometheus.CounterVec }

// Increment is metrics.TransportCreateCallsMetric and metrics.TransportCacheGCCallsMetric.
func (c results) Increment(result string) { c.WithLabelValues(result).Inc() }

type reloads struct{ *prometheus.CounterVec }

// Increment is metrics.TransportCAReloadsMetric.
func (c reloads) Increment(result, reason string) { c.WithLabelValues(result, reason).Inc() }

type plain struct{ prometheus.Counter }

// Increment is metrics.TransportCertRotationGCCallsMetric.
func (c plain) Increment() { c.Inc() }

type requestResult struct{ *prometheus.CounterVec }

// Increment is metrics.ResultMetric.
func (r requestResult) Increment(_ context.Context, code, method, host string) {
	r.WithLabelValues(code, method, host).Inc()
}

type latency struct{ *prometheus.HistogramVec }

// Observe is metrics.LatencyMetric.
func (l latency) Observe(_ context.Context, verb string, u url.URL, took time.Duration) {
	l.WithLabelValues(verb, u.Host).Observe(took.Seconds())
}

type retries struct{ *prometheus.CounterVec }

// IncrementRetry is metrics.RetryMetric.
func (r retries) IncrementRetry(_ context.Context, code, method, host string) {
	r.WithLabelValues(code, method, host).Inc()
}

type size struct{ *prometheus.HistogramVec }

// Observe is metrics.SizeMetric.
func (s size) Observe(_ context.Context, verb, host string, bytes float64) {
	s.WithLabelValues(verb, host).Observe(bytes)
}
