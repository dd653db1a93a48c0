package status

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/syncer"
)

// answer is what a client sees.
type answer struct {
	code   int
	header http.Header
	body   string
}

// get asks over a real connection, with headers in pairs.
func get(t *testing.T, s *Status, p Pages, path string, headers ...string) answer {
	t.Helper()
	return ask(t, s, p, http.MethodGet, path, "", headers...)
}

func ask(t *testing.T, s *Status, p Pages, method, path, body string, headers ...string) answer {
	t.Helper()
	server := httptest.NewServer(s.Handler(p))
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

func TestPages(t *testing.T) {
	type config struct {
		Kind string `json:"kind"`
	}
	var verbosity string
	all := Pages{
		Mode: "iptables", Profiling: true,
		Config: func() any { return config{"KubeProxyConfiguration"} },
		Flags:  func() map[string]string { return map[string]string{"v": "2", "cluster-cidr": "10.0.0.0/8"} },
		SetVerbosity: func(text string) error {
			verbosity = text
			if text == "x" {
				return errors.New("no number")
			}
			return nil
		},
	}
	quiet := all
	quiet.Profiling = false
	s := New(facts())
	for _, test := range []struct {
		name         string
		pages        Pages
		method, path string
		send         string
		code         int
		contentType  string
		body         string // all of it, or, in front of "...", the beginning
	}{
		{"that it answers", quiet, "GET", "/healthz", "", 200, "text/plain; charset=utf-8", "ok"},
		{"whatever the method", quiet, "POST", "/healthz/ping", "", 200, "text/plain; charset=utf-8", "ok"},
		{"its checks", quiet, "GET", "/healthz?verbose", "", 200, "text/plain; charset=utf-8", "[+]ping ok\nhealthz check passed\n"},
		{"its mode", quiet, "GET", "/proxyMode", "", 200, "text/plain; charset=utf-8", "iptables"},
		{"its configuration", quiet, "GET", "/configz", "", 200, "application/json", `{"kubeproxy.config.k8s.io":{"kind":"KubeProxyConfiguration"}}`},
		{"its flags", quiet, "GET", "/flagz", "", 200, "text/plain; charset=utf-8", "\nespalier flagz\nWarning: ..."},
		{"no index", quiet, "GET", "/", "", 404, "text/plain; charset=utf-8", "404 page not found\n"},
		{"no profiles unless asked for", quiet, "GET", "/debug/pprof/", "", 404, "text/plain; charset=utf-8", "404 page not found\n"},
		{"nor verbosity", quiet, "PUT", "/debug/flags/v", "3", 404, "text/plain; charset=utf-8", "404 page not found\n"},
		{"profiles", all, "GET", "/debug/pprof/", "", 200, "text/html; charset=utf-8", "<html>..."},
		{"the way there", all, "GET", "/debug/pprof", "", 302, "text/html; charset=utf-8", "<a href=\"/debug/pprof/\">Found</a>.\n\n"},
		{"one of them", all, "GET", "/debug/pprof/goroutine?debug=1", "", 200, "text/plain; charset=utf-8", "goroutine profile: ..."},
		{"not the command line", all, "GET", "/debug/pprof/cmdline", "", 404, "text/plain; charset=utf-8", "404 page not found\n"},
		{"verbosity", all, "PUT", "/debug/flags/v", "3", 200, "text/plain; charset=utf-8", "successfully set klog.logging.verbosity to 3"},
		{"verbosity that is none", all, "PUT", "/debug/flags/v", "x", 400, "text/plain; charset=utf-8", "set the verbosity to \"x\": no number\n"},
		{"verbosity cannot be read", all, "GET", "/debug/flags/v", "", 406, "text/plain; charset=utf-8", "want PUT with a number\n"},
		{"metrics", quiet, "GET", "/metrics", "", 200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", "# HELP ..."},
		{"status", quiet, "GET", "/statusz", "", 200, "text/plain; charset=utf-8", "\nespalier statusz\nWarning: ..."},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ask(t, s, test.pages, test.method, test.path, test.send)
			if got.code != test.code {
				t.Errorf("status %d, want %d", got.code, test.code)
			}
			if got.header.Get("Content-Type") != test.contentType {
				t.Errorf("type %q, want %q", got.header.Get("Content-Type"), test.contentType)
			}
			beginning, partly := strings.CutSuffix(test.body, "...")
			if partly && !strings.HasPrefix(got.body, beginning) || !partly && got.body != test.body {
				t.Errorf("got %q, want %q", got.body, test.body)
			}
		})
	}
	if verbosity != "x" {
		t.Errorf("verbosity was set to %q at last, want x", verbosity)
	}
}

func TestMetricsInOtherWords(t *testing.T) {
	s := New(facts())
	for accept, want := range map[string]string{
		"application/openmetrics-text": "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited": "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores",
	} {
		got := get(t, s, Pages{}, "/metrics", "Accept", accept)
		if diff := cmp.Diff(want, got.header.Get("Content-Type")); diff != "" {
			t.Errorf("asked for %s (-want +got):\n%s", accept, diff)
		}
		if got.header.Get("Process-Start-Time-Unix") == "" {
			t.Error("does not say when the process started")
		}
	}
	if got := get(t, s, Pages{}, "/metrics", "Accept-Encoding", "gzip"); got.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("encoding %q, want gzip", got.header.Get("Content-Encoding"))
	}
}

func TestAnswersAreIndicatorsOfService(t *testing.T) {
	s := New(facts())
	for range 2 {
		get(t, s, Pages{}, "/healthz")
	}
	got := get(t, s, Pages{}, "/metrics/slis").body
	for _, line := range []string{`kubernetes_healthcheck{name="ping",type="healthz"} 1`, `kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} 2`} {
		if !strings.Contains(got, line) {
			t.Errorf("want %s in\n%s", line, got)
		}
	}
}

func TestStatusSaysHowFamiliesAre(t *testing.T) {
	s := New(facts())
	f := s.Start(ipproto.IPv4, waiting(Waiting{}))
	s.Start(ipproto.IPv6, waiting(Waiting{}))
	f.Report(good())
	f.Report(syncer.Report{Err: errors.New("the lock is held")})
	for accept, parts := range map[string][]string{
		"text/html": {"shop/&lt;web&gt;", "IPv4: <span class=\"bad\">overdue", "the lock is held", "Services: 2; rules: 8 in nat, 4 in filter"},
		"*/*":       {"shop/<web>", "IPv4: overdue", "the lock is held", "Services: 2; rules: 8 in nat, 4 in filter", "2 syncs, 1 of them whole, 1 failed; 2 COMMITs", "IPv6: waiting for"},
	} {
		got := get(t, s, Pages{}, "/statusz", "Accept", accept).body
		for _, part := range parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s: want %q in\n%s", accept, part, got)
			}
		}
	}
}
