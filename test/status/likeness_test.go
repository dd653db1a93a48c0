package status

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"espalier/proxier/status/statustest"
)

// TestLikeKubeProxy plays the same scenes with the program as were played with kube-proxy 1.37.2, and compares what an
// HTTP client was answered. What kube-proxy answered is in testdata. To record it again:
//
//	KUBE_PROXY=/path/to/kube-proxy go test -run TestLikeKubeProxy ./test/status
//
// which puts kube-proxy where otherwise the program is: in a namespace, with kubetest as its API server.
func TestLikeKubeProxy(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(*script){
		"no-node":            playNoNode,
		"probes":             playProbes,
		"health-check-ports": playHealthCheckPorts,
		"metrics":            playMetrics,
		"pages":              playPages,
		"gates":              playGates,
		"api":                playAPI,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{node: newNode(t)}
			s.kubeProxy = os.Getenv("KUBE_PROXY")
			play(s)
			path := "testdata/kube-proxy-1.37.2/" + name + ".txt"
			if s.kubeProxy != "" {
				if err := os.WriteFile(path, []byte(s.text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s.shownHere(string(want)), s.text.String()); diff != "" {
				t.Errorf("answers (-kube-proxy +espalier):\n%s", diff)
			}
		})
	}
}

// shownHere leaves out what kube-proxy would not show on this kernel, either.
func (s *script) shownHere(recorded string) string {
	if !strings.Contains(s.log.String(), "Some packets are not counted") {
		return recorded
	}
	var rest strings.Builder
	for line := range strings.Lines(recorded) {
		if !strings.HasPrefix(line, "kubeproxy_iptables_") {
			rest.WriteString(line)
		}
	}
	return rest.String()
}

// script notes what was asked and answered.
type script struct {
	*node
	text strings.Builder
}

func (s *script) note(format string, args ...any) { fmt.Fprintf(&s.text, format+"\n", args...) }

// period is --iptables-sync-period: rules are overdue after twice that.
const period = 5 * time.Second

func (s *script) begin(flags ...string) {
	s.start(append(flags, "--iptables-sync-period", period.String(), "--iptables-min-sync-period", "0")...)
}

// reply is what a client is answered, without what differs from one time to the next.
type reply struct {
	code   int
	header http.Header
	body   string
}

// ask asks for a path on a port: "10256/healthz".
func (s *script) ask(url string, headers ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://127.0.0.1:"+url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.client.Do(req)
	if err != nil {
		if strings.Contains(err.Error(), "connection refused") {
			return reply{body: "refused"}
		}
		return reply{body: err.Error()}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(body)}
}

// moments are times of day in a body.
var moments = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"`)

func (r reply) String() string {
	if r.code == 0 {
		return r.body
	}
	text := fmt.Sprint(r.code)
	for _, name := range []string{"Content-Type", "X-Content-Type-Options", "X-Load-Balancing-Endpoint-Weight"} {
		if v := r.header.Get(name); v != "" {
			text += "\n  " + name + ": " + v
		}
	}
	return text + "\n  " + strings.ReplaceAll(moments.ReplaceAllString(r.body, "TIME"), "\n", "\n  ")
}

// probes notes the answers of both probes.
func (s *script) probes(state string) {
	for _, path := range []string{"/healthz", "/livez"} {
		s.note("%s, %s: %s", state, path, s.ask("10256"+path))
	}
}

// code is the code of an answer.
func (s *script) code(url string) string { return fmt.Sprint(s.ask(url).code) }

func (s *script) awaitCode(what, url string, code int) {
	s.t.Helper()
	s.eventually(what, fmt.Sprint(code), func() string { return s.code(url) })
}

// playNoNode: the Node does not exist. kube-proxy answers nobody until it has waited for half a minute.
func playNoNode(s *script) {
	s.begin()
	s.eventually("families in the answer", "2", func() string {
		var h health
		_ = json.Unmarshal([]byte(s.ask("10256/healthz").body), &h)
		return fmt.Sprint(len(h.Status))
	})
	s.probes("no Node")
}

func playProbes(s *script) {
	s.api.Apply(nodeObject())
	s.begin()
	s.synced()
	s.awaitCode("/healthz", "10256/healthz", 200)
	s.probes("a fresh start")
	for _, path := range []string{"/", "/readyz", "/healthz/"} {
		s.note("%s: %s", path, s.ask("10256"+path))
	}

	s.api.Apply(nodeObject(func(o *corev1.Node) {
		o.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler", Effect: corev1.TaintEffectNoSchedule}}
	}))
	s.awaitCode("/healthz", "10256/healthz", 503)
	s.probes("a tainted Node")
	s.api.Apply(nodeObject(func(o *corev1.Node) {
		o.Spec.Unschedulable = true
		o.Spec.Taints = []corev1.Taint{{Key: "node.kubernetes.io/not-ready", Effect: corev1.TaintEffectNoExecute}}
	}))
	s.awaitCode("/healthz", "10256/healthz", 200)
	s.probes("a Node that is cordoned and not ready")

	s.put("busy", "")
	s.api.Apply(slice("web", "10.180.0.3"))
	s.failing(0)
	s.probes("rules cannot be written")
	s.awaitCode("/healthz", "10256/healthz", 503)
	s.probes("rules cannot be written for twice the period")
	s.remove("busy")
	s.awaitCode("/healthz", "10256/healthz", 200)
	s.probes("rules can be written again")

	s.stopAPI()
	s.eventually("requests that fail", "some", func() string { return atLeast(failedRequests(s.node), 3) })
	s.probes("no API server")
}

func atLeast(n, least float64) string {
	if n < least {
		return "too few"
	}
	return "some"
}

// failing waits until more writes failed than that.
func (s *script) failing(before float64) {
	s.t.Helper()
	s.eventually("writes that fail", "some", func() string {
		return atLeast(s.value("kubeproxy_sync_proxy_rules_iptables_restore_failures_total"), before+1)
	})
}

func playHealthCheckPorts(s *script) {
	s.api.Apply(nodeObject(), checked("web", "172.30.0.1", 32100))
	s.begin()
	s.synced()
	s.awaitCode("its port", "32100", 200) // two endpoints, as it was from the start
	state := func(name string, endpoints *discoveryv1.EndpointSlice, weight string) {
		s.t.Helper()
		s.api.Apply(endpoints)
		s.eventually(name, weight, func() string { return s.ask("32100").header.Get("X-Load-Balancing-Endpoint-Weight") })
		s.note("%s: %s", name, s.ask("32100/any/path"))
	}
	state("2 local ready", slice("web", "10.180.0.1", "10.180.0.2"), "2")
	state("0", slice("web"), "0")
	state("1 local ready", slice("web", "10.180.0.1"), "1")
	terminating := slice("web", "10.180.0.1", "10.180.0.2")
	for i := range terminating.Endpoints {
		terminating.Endpoints[i].Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
	}
	state("only terminating", terminating, "0")
	elsewhere := slice("web", "10.180.0.1", "10.180.0.2", "10.180.0.3")
	elsewhere.Endpoints[1].NodeName = new("node-2")
	elsewhere.Endpoints[2].Conditions.Ready = new(false)
	state("1 of 3 is here and ready", elsewhere, "1")

	s.put("busy", "")
	s.api.Apply(slice("web", "10.180.0.1", "10.180.0.2"))
	s.awaitCode("/healthz", "10256/healthz", 503)
	s.note("the proxy is not healthy: %s", s.ask("32100"))
	s.remove("busy")
	s.awaitCode("/healthz", "10256/healthz", 200)

	taken := s.listen("0.0.0.0:32101")
	defer taken.Close()
	s.api.Apply(checked("other", "172.30.0.2", 32101), slice("other", "10.180.0.5"))
	var told []string
	s.eventually("an Event", "told", func() string {
		told = nil
		for _, e := range s.api.Events() {
			if e.Regarding.Kind == "Service" {
				told = append(told, strings.Join([]string{e.Type, e.Action, e.Reason, e.Regarding.Namespace + "/" + e.Regarding.Name, e.ReportingController}, " "))
			}
		}
		if len(told) == 0 {
			return "not told"
		}
		return "told"
	})
	slices.Sort(told)
	s.note("the port of another one is taken: %s", strings.Join(slices.Compact(told), "; "))
	s.note("and this one: %d", s.ask("32100").code)

	s.api.Delete(checked("web", "172.30.0.1", 32100))
	s.eventually("the removed Service", "refused", func() string { return s.ask("32100").String() })
	s.note("a removed Service: %s", s.ask("32100"))
}

// checked is a Service that load balancers ask about.
func checked(name, ip string, port int32) *corev1.Service {
	o := service(name, ip)
	o.Spec.Type, o.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
	o.Spec.Ports[0].NodePort, o.Spec.HealthCheckNodePort = port-1000, port
	return o
}

// playMetrics: one Service and a UDP one, a partial sync, and one that fails.
func playMetrics(s *script) {
	dns := service("dns", "172.30.0.2")
	dns.Spec.Ports = []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}}
	s.api.Apply(nodeObject(), dns)
	s.begin("--healthz-bind-address=127.0.0.1:10256")
	s.synced()
	s.api.Apply(slice("web", "10.180.0.3"), udpSlice("10.180.0.53"))
	const partly = "kubeproxy_sync_partial_proxy_rules_duration_seconds"
	s.eventually("a partial sync", "some", func() string { return atLeast(s.value(partly), 1) })
	s.eventually("a clean-up of conntrack", "some", func() string {
		return atLeast(s.value("kubeproxy_conntrack_reconciler_sync_duration_seconds"), 1)
	})
	s.put("busy", "")
	s.api.Apply(slice("web", "10.180.0.4"))
	s.eventually("a partial sync that fails", "some", func() string {
		return atLeast(s.value("kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total"), 1)
	})
	s.remove("busy")
	s.probes("not noted")
	s.text.Reset()
	s.eventually("a change that was programmed", "some", func() string {
		return atLeast(s.value("kubeproxy_network_programming_duration_seconds"), 1)
	})
	families := s.metrics()
	for _, prefix := range []string{"kubeproxy_", "rest_client_", "kubernetes_", "process_"} {
		s.note("%s", strings.TrimSpace(statustest.Describe(families, prefix)))
	}
	if s.kubeProxy != "" && !strings.Contains(s.text.String(), "kubeproxy_iptables_ct_state_invalid_dropped_packets_total") {
		s.t.Fatal("kube-proxy shows no counters of packets here: record it where the kernel has nfnetlink_acct")
	}
	for _, m := range families["kubernetes_feature_enabled"].GetMetric() {
		var labels []string
		for _, l := range m.Label {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		s.note("kubernetes_feature_enabled{%s} %v", strings.Join(labels, ","), m.Gauge.GetValue())
	}
}

func udpSlice(addr string) *discoveryv1.EndpointSlice {
	o := slice("dns", addr)
	o.Ports[0].Name, o.Ports[0].Protocol = new("dns"), new(corev1.ProtocolUDP)
	return o
}

// playPages: what the metrics server shows beside metrics.
func playPages(s *script) {
	s.api.Apply(nodeObject())
	s.begin("--profiling")
	s.synced()
	for _, path := range []string{"/healthz", "/healthz/ping", "/healthz?verbose", "/proxyMode", "/nonsense", "/"} {
		got := s.ask("10249" + path)
		got.header.Del("X-Content-Type-Options") // which we always send
		s.note("%s: %s", path, got)
	}
	for _, path := range []string{"/debug/flags/v", "/debug/pprof", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/configz", "/metrics/slis"} {
		s.note("%s: %d", path, s.ask("10249"+path).code) // what they say is for people
	}
	var config any
	if err := json.Unmarshal([]byte(s.ask("10249/configz").body), &config); err != nil {
		s.t.Fatal(err)
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.note("%s", text)
	for _, kind := range []string{"Statusz", "Flagz"} {
		path := "/" + strings.ToLower(kind)
		for _, accept := range accepts(kind) {
			got := s.ask("10249"+path, "Accept", accept)
			s.note("%s, Accept %q: %d %s", path, accept, got.code, got.header.Get("Content-Type"))
			if !strings.HasPrefix(got.header.Get("Content-Type"), "text/") {
				s.note("  %s", s.structure(got.body))
			}
		}
	}
}

// playAPI: what the API server is asked and told.
func playAPI(s *script) {
	s.api.Apply(nodeObject())
	s.begin("--proxy-mode=iptables")
	s.synced()
	s.eventually("an Event", "1", func() string { return fmt.Sprint(len(s.api.Events())) })
	var asked []string
	for _, q := range s.api.Requests() {
		if q.Resource == "servicecidrs" { // which kube-proxy watches for another mode
			continue
		}
		text := q.String() + " of " + q.Group
		for _, name := range []string{"labelSelector", "fieldSelector", "resourceVersionMatch", "allowWatchBookmarks", "limit"} {
			if v := q.Query.Get(name); v != "" {
				text += " " + name + "=" + v
			}
		}
		asked = append(asked, text+" Accept="+q.Header.Get("Accept"))
	}
	slices.Sort(asked)
	s.note("%s", strings.Join(slices.Compact(asked), "\n"))
	host, err := os.Hostname()
	if err != nil {
		s.t.Fatal(err)
	}
	e := s.api.Events()[0]
	s.note("%s %s %s regarding %+v, by %s %s", e.Type, e.Action, e.Reason, e.Regarding, e.ReportingController, strings.ReplaceAll(e.ReportingInstance, host, "HOST"))
	s.note("%s/%s", e.Namespace, regexp.MustCompile(`\.[0-9a-f]+$`).ReplaceAllString(e.Name, ".TIME"))
}

// playGates: pages that are switched off.
func playGates(s *script) {
	s.api.Apply(nodeObject())
	s.begin("--feature-gates=ComponentStatusz=false,ComponentFlagz=false")
	s.synced()
	for _, path := range []string{"/statusz", "/flagz", "/proxyMode"} {
		s.note("%s: %d", path, s.ask("10249"+path).code)
	}
}

// accepts are what clients may ask for.
func accepts(kind string) []string {
	return []string{
		"", "*/*", "text/plain", "text/plain;charset=utf-8", "text/*", "application/json", "application/yaml", "application/xml",
		"application/json;g=config.k8s.io;v=v1beta1;as=" + kind,
		"application/json;v=v1beta1;g=config.k8s.io;as=" + kind,
		"application/yaml;g=config.k8s.io;v=v1beta1;as=" + kind,
		"application/cbor;g=config.k8s.io;v=v1beta1;as=" + kind,
		"application/json;g=config.k8s.io;v=v1alpha1;as=" + kind,
		"application/json;g=config.k8s.io;v=v1;as=" + kind,
		"application/json;g=config.k8s.io;v=v1beta1;as=Other",
		"application/json;g=config.k8s.io;v=v1beta1",
		"application/json;g=config.k8s.io;v=v1beta1;as=" + kind + ", text/plain",
		"text/plain, application/json;g=config.k8s.io;v=v1beta1;as=" + kind,
		"application/json, text/plain;q=0.5",
		"application/xml, */*;q=0.1",
	}
}

// structure returns what an object in JSON or YAML has: its names in order, and the values that say what it is.
func (s *script) structure(text string) string {
	s.t.Helper()
	var o map[string]any
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		s.t.Fatalf("%v:\n%s", err, text)
	}
	var parts []string
	for name, value := range o {
		_, isText := value.(string)
		if isText && name != "startTime" && name != "goVersion" && name != "binaryVersion" || name == "metadata" || name == "code" || name == "paths" {
			name += fmt.Sprint("=", value)
		}
		parts = append(parts, name)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
