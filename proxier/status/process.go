package status

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// registerProcess enters what Go and the kernel know of the process, and what was built.
func registerProcess(r *prometheus.Registry, version string) {
	r.MustRegister(
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsAll)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	built := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			built[s.Key] = s.Value
		}
	}
	state := "clean"
	if built["vcs.modified"] == "true" {
		state = "dirty"
	}
	labels := []string{"major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler", "platform"}
	values := []string{"", "", version, built["vcs.revision"], state, built["vcs.time"], runtime.Version(), runtime.Compiler, runtime.GOOS + "/" + runtime.GOARCH}
	gauge(r, buildInfo, alpha+"1, with what was built, from what and by what.", labels...).WithLabelValues(values...).Set(1)
}
