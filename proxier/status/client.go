package status

import (
	"context"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

// WatchClient counts the requests to API servers. client-go has one place for that in a process, which the first call
// takes; nothing changes by others.
func (s *Status) WatchClient() {
	metrics.Register(metrics.RegisterOpts{
		RequestResult:      requestResult{counter(s.registry, requests, alpha+"Requests to API servers by status, method and host.", "code", "method", "host")},
		RequestLatency:     latency{histogram(s.registry, requestDuration, alpha+"Time of requests to API servers by verb and host.", requestBuckets(), "verb", "host")},
		RateLimiterLatency: latency{histogram(s.registry, requestRateLimiter, alpha+"Time that requests were held back in this process, by verb and host.", requestBuckets(), "verb", "host")},
		RequestRetry:       retries{counter(s.registry, requestRetries, alpha+"Requests to API servers that were sent again, by status, verb and host.", "code", "verb", "host")},
		RequestSize:        size{histogram(s.registry, requestSize, alpha+"Size of requests to API servers by verb and host.", sizeBuckets(), "verb", "host")},
		ResponseSize:       size{histogram(s.registry, responseSize, alpha+"Size of answers of API servers by verb and host.", sizeBuckets(), "verb", "host")},
	})
}

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
