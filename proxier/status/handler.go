package status

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
)

// Pages are what the metrics server shows beside metrics and status.
type Pages struct {
	// Mode is what the proxy is to tests of clusters: "iptables".
	Mode string
	// Config is the configuration in force, which Configz prints as JSON under the name of its API group. Nil: none.
	Config func() any
	// Flags are those of the command line with their values, by name. Nil: they are not shown.
	Flags func() map[string]string
	// NoStatus leaves the status page away.
	NoStatus bool
	// Profiling: the process lets itself be profiled, and its verbosity be changed.
	Profiling bool
	// SetVerbosity changes how much is logged. It says what is wrong with a text that is no verbosity.
	SetVerbosity func(string) error
}

// configName is the key of the configuration in /configz.
const configName = "kubeproxy.config.k8s.io"

// writeLimit is how long an answer may take, but for a profile, which takes as long as was asked for.
const writeLimit = time.Minute

// Handler returns what answers at the address for metrics.
func (s *Status) Handler(p Pages) http.Handler {
	mux := http.NewServeMux()
	var paths []string
	add := func(path string, h http.HandlerFunc) {
		paths = append(paths, path)
		mux.HandleFunc(path, limited(h))
	}
	add("/metrics", s.scraped(s.registry))
	add("/metrics/slis", s.scraped(s.slis))
	// That the server answers is all that this says. How the proxy is, is asked at the address for probes.
	add("/healthz", s.probes.ping(ping))
	add("/healthz/ping", s.probes.ping(ping))
	add("/proxyMode", func(w http.ResponseWriter, _ *http.Request) { text(w, p.Mode) })
	add("/configz", func(w http.ResponseWriter, _ *http.Request) { configz(w, p.Config) })
	if p.Flags != nil {
		add("/flagz", func(w http.ResponseWriter, r *http.Request) { flagz(w, r, p.Flags()) })
	}
	if p.Profiling {
		add("/debug/flags/v", func(w http.ResponseWriter, r *http.Request) { verbosity(w, r, p.SetVerbosity) })
		profiles(mux)
		paths = append(paths, "/debug/pprof/")
	}
	if !p.NoStatus {
		listed := slices.Clone(paths)
		add("/statusz", func(w http.ResponseWriter, r *http.Request) { s.statusz(w, r, listed) })
	}
	return mux
}

// scraped serves the metrics of a registry: as text, or as protobuf if asked for.
func (s *Status) scraped(r *prometheus.Registry) http.HandlerFunc {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: scrapeErrors{}, ErrorHandling: promhttp.ContinueOnError, ProcessStartTime: s.started,
	}).ServeHTTP
}

// scrapeErrors logs what cannot be collected; the rest is.
type scrapeErrors struct{}

// Println is promhttp.Logger.
func (scrapeErrors) Println(v ...any) {
	klog.InfoS("Some metrics are missing", "because", strings.TrimSpace(fmt.Sprintln(v...)))
}

// limited gives an answer a limited time.
func limited(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// An error means that this is no connection, as in tests.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit))
		h(w, r)
	}
}

// ping says ok, and to those who ask for more that there is one check.
func ping(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("verbose") {
		text(w, "[+]ping ok\nhealthz check passed\n")
		return
	}
	text(w, "ok")
}

// text answers with a text. If the client has gone, nobody else wants it.
func text(w http.ResponseWriter, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, s)
}

func configz(w http.ResponseWriter, config func() any) {
	var value any
	if config != nil {
		value = config()
	}
	body, err := json.Marshal(map[string]any{configName: value})
	if err != nil {
		http.Error(w, fmt.Sprintf("print the configuration: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) // the client may be gone
}

// verbosity changes how much is logged: PUT with a number.
func verbosity(w http.ResponseWriter, r *http.Request, set func(string) error) {
	if r.Method != http.MethodPut {
		http.Error(w, "want PUT with a number", http.StatusNotAcceptable)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 16))
	if err == nil && set != nil {
		err = set(strings.TrimSpace(string(body)))
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("set the verbosity to %q: %v", body, err), http.StatusBadRequest)
		return
	}
	text(w, fmt.Sprintf("successfully set klog.logging.verbosity to %s", strings.TrimSpace(string(body))))
}

// profiles lets the process be profiled. The command line is not shown: it is at /flagz, and may have secrets here.
func profiles(mux *http.ServeMux) {
	mux.Handle("/debug/pprof", http.RedirectHandler("/debug/pprof/", http.StatusFound))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/cmdline", http.NotFound)
}
