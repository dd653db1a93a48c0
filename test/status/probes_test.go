package status

import (
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Answers of a node that has both families.
const (
	good        = "200 healthy, eligible, IPv4 healthy, IPv6 healthy"
	leaving     = "503 healthy, not eligible, IPv4 healthy, IPv6 healthy"
	overdue     = "503 not healthy, eligible, IPv4 not healthy, IPv6 healthy"
	alive       = "200 healthy, IPv4 healthy, IPv6 healthy"
	aliveBehind = "503 not healthy, IPv4 not healthy, IPv6 healthy"
)

func TestProbesOfANodeThatComesAndGoes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.start()
	// The Node is not known. The process is alive, but load balancers have no business here.
	n.eventuallyProbe("/healthz", leaving)
	n.wantProbe("/livez", alive)

	n.api.Apply(nodeObject())
	n.eventuallyProbe("/healthz", good)
	n.synced()
	n.wantProbe("/healthz", good)
	n.wantProbe("/livez", alive)

	// The autoscaler marks it. That is no change of rules.
	syncs := n.value("kubeproxy_sync_proxy_rules_duration_seconds")
	n.api.Apply(nodeObject(func(o *corev1.Node) {
		o.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler", Effect: corev1.TaintEffectNoSchedule}}
	}))
	n.eventuallyProbe("/healthz", leaving)
	n.wantProbe("/livez", alive)
	n.api.Apply(nodeObject(func(o *corev1.Node) { o.Spec.Unschedulable = true }))
	n.eventuallyProbe("/healthz", good)
	if now := n.value("kubeproxy_sync_proxy_rules_duration_seconds"); now != syncs {
		t.Errorf("%v syncs because the node was marked, want none", now-syncs)
	}
	if bad, ok := countOf(n, "kubeproxy_proxy_healthz_total", "503"); !ok || bad < 2 {
		t.Errorf("%v answers 503 of /healthz were counted, want at least 2", bad)
	}
	if bad, ok := countOf(n, "kubeproxy_proxy_livez_total", "503"); ok {
		t.Errorf("%v answers 503 of /livez were counted, want none", bad)
	}
	for _, path := range []string{"/", "/readyz", "/healthz/"} {
		if code, _, err := n.get("10256" + path); code != 404 {
			t.Errorf("%s: %d, %v; want 404", path, code, err)
		}
	}
}

func TestProbesWhileRulesCannotBeWritten(t *testing.T) {
	t.Parallel()
	const period = 2 * time.Second
	n := newNode(t)
	web := service("web", "172.30.0.1")
	web.Spec.Type, web.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
	web.Spec.Ports[0].NodePort, web.Spec.HealthCheckNodePort = 30080, 32100
	n.api.Apply(nodeObject(), web)
	n.start("--iptables-sync-period", period.String(), "--iptables-min-sync-period", "0")
	n.synced()
	n.eventually("health-check node port", "200", func() string { return n.nodePort().code })

	n.put("busy", "")
	changed := time.Now()
	n.api.Apply(slice("web", "10.180.0.3"))
	n.eventually("failures", "some", func() string {
		if n.value("kubeproxy_sync_proxy_rules_iptables_restore_failures_total") == 0 {
			return "none"
		}
		return "some"
	})
	if at := n.probe("/healthz"); at != good && time.Since(changed) < 2*period {
		t.Errorf("after %v: %q, want %q until the change is overdue", time.Since(changed), at, good)
	}
	n.eventuallyProbe("/healthz", overdue)
	if took := time.Since(changed); took < 2*period {
		t.Errorf("overdue after %v, want twice the sync period of %v", took, period)
	}
	n.wantProbe("/livez", aliveBehind)
	if got := n.nodePort(); got.code != "503" || !strings.Contains(got.body, `"serviceProxyHealthy": false`) {
		t.Errorf("health-check node port: %+v, want 503 because the proxy is not healthy", got)
	}
	if age := n.value("espalier_oldest_change_age_seconds"); age < (2 * period).Seconds() {
		t.Errorf("the oldest change is %v s old, want at least twice the sync period", age)
	}
	if _, page, _ := n.get("10249/statusz"); !strings.Contains(page, "IPv4: overdue") || !strings.Contains(page, "holding the xtables lock") {
		t.Errorf("the page does not say that IPv4 is overdue, and why:\n%s", page)
	}

	n.remove("busy")
	n.eventuallyProbe("/healthz", good)
	n.wantProbe("/livez", alive)
	n.eventually("health-check node port", "200", func() string { return n.nodePort().code })
	if age := n.value("espalier_oldest_change_age_seconds"); age != 0 {
		t.Errorf("the oldest change is %v s old, want none", age)
	}
}

// A livenessProbe must not restart the process again and again while nobody can say what its rules should be.
func TestProbesOfAProcessThatNeverSawTheServer(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.stopAPI()
	n.start("--iptables-sync-period", "100ms", "--iptables-min-sync-period", "0")
	n.eventuallyProbe("/livez", alive)
	n.wantProbe("/healthz", leaving)
	n.eventually("requests that fail", "some", func() string {
		if failedRequests(n) < 5 {
			return "few"
		}
		return "some"
	})
	n.wantProbe("/livez", alive)
	if rules, err := n.Command(nil, "iptables-nft-save"); err != nil || strings.Contains(string(rules), "KUBE-SERVICES") {
		t.Errorf("rules were written without knowing the cluster (%v):\n%s", err, rules)
	}
}

// An address that is taken does not keep rules from being written, and is had when it is free; unless the operator
// wants to hear of it.
func TestAddressesThatAreTaken(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.api.Apply(nodeObject())
	taken := n.listen("127.0.0.1:10249")
	defer taken.Close()
	_, err := n.Command(nil, n.command("--bind-address-hard-fail")...)
	if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "error: serve metrics on 127.0.0.1:10249") {
		t.Errorf("with --bind-address-hard-fail: %v, want status 1 and which address it was", err)
	}
	n.start()
	n.eventuallyProbe("/healthz", good)
	n.eventually("rules", "written", func() string {
		rules, err := n.Command(nil, "iptables-nft-save")
		if err == nil && strings.Contains(string(rules), "shop/web:http cluster IP") {
			return "written"
		}
		return "not written"
	})
	_ = taken.Close()
	n.eventually("metrics", "200", func() string {
		code, _, err := n.get("10249/metrics")
		if err != nil {
			return err.Error()
		}
		return strconv.Itoa(code)
	})
}

// failedRequests counts requests that the API server did not answer.
func failedRequests(n *node) (failed float64) {
	for _, m := range n.metrics()["rest_client_requests_total"].GetMetric() {
		for _, l := range m.Label {
			if l.GetName() == "code" && l.GetValue() == "<error>" {
				failed += m.Counter.GetValue()
			}
		}
	}
	return failed
}

func TestProbesWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.api.Apply(nodeObject())
	n.start("--iptables-sync-period", "100ms", "--iptables-min-sync-period", "0")
	n.synced()
	n.eventuallyProbe("/healthz", good)
	n.stopAPI()
	// Some requests fail; that is long after twice the period.
	n.eventually("requests that fail", "some", func() string {
		if failedRequests(n) < 5 {
			return "few"
		}
		return "some"
	})
	n.wantProbe("/healthz", good)
	n.wantProbe("/livez", alive)
	// What is known stays programmed.
	if got := n.value("espalier_programmed_services"); got != 1 {
		t.Errorf("%v Services are programmed, want 1", got)
	}
}

// nodePort is the answer at the health-check node port.
func (n *node) nodePort() (got struct{ code, body string }) {
	code, body, err := n.get("32100")
	switch {
	case err != nil:
		got.code = err.Error()
	case code == 200:
		got.code = "200"
	case code == 503:
		got.code = "503"
	}
	got.body = body
	return got
}

// Whoever wants no probes still has Services with health-check node ports.
func TestHealthCheckNodePortsWithoutProbes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.api.Apply(nodeObject(), checked("web", "172.30.0.1", 32100))
	n.start("--healthz-port", "0")
	n.synced()
	n.eventually("health-check node port", "200", func() string { return n.nodePort().code })
	if got := n.nodePort(); !strings.Contains(got.body, `"serviceProxyHealthy": true`) {
		t.Errorf("health-check node port: %s, want the proxy to be healthy", got.body)
	}
	if _, _, err := n.get("10256/healthz"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("port 10256: %v, want nobody to be there", err)
	}
}
