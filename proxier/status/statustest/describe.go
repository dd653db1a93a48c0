// Package statustest says what metrics there are, for tests that compare them with those of kube-proxy.
package statustest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Parse reads metrics in the text format.
func Parse(text io.Reader) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return families, nil
}

// Describe returns a line for each metric whose name begins so: name, type, labels, and the buckets of a histogram,
// but not its values.
//
//	kubeproxy_x_seconds histogram {ip_family} 0.001 0.002 +Inf
func Describe(families map[string]*dto.MetricFamily, prefix string) string {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(families)) {
		f := families[name]
		if !strings.HasPrefix(name, prefix) || len(f.Metric) == 0 {
			continue
		}
		fmt.Fprintf(&lines, "%s %s {%s}", name, strings.ToLower(f.GetType().String()), strings.Join(labels(f), ","))
		for _, b := range f.Metric[0].GetHistogram().GetBucket() {
			fmt.Fprintf(&lines, " %s", strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64))
		}
		fmt.Fprintln(&lines)
	}
	return lines.String()
}

// labels returns the names of the labels of any of the series.
func labels(f *dto.MetricFamily) []string {
	names := map[string]bool{}
	for _, m := range f.Metric {
		for _, l := range m.Label {
			names[l.GetName()] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Value returns the value of a counter or gauge with the given labels, a histogram's number of observations, and false
// if there is no such series.
func Value(families map[string]*dto.MetricFamily, name string, labels map[string]string) (float64, bool) {
	f := families[name]
	if f == nil {
		return 0, false
	}
	for _, m := range f.Metric {
		have := map[string]string{}
		for _, l := range m.Label {
			have[l.GetName()] = l.GetValue()
		}
		if !maps.Equal(have, labels) {
			continue
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue(), true
		case m.Gauge != nil:
			return m.Gauge.GetValue(), true
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount()), true
		}
	}
	return 0, false
}
