package status

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/status/statustest"
	"espalier/watcher/kube/kubetest"
)

// countOf returns a counter by its label code.
func countOf(n *node, name, code string) (float64, bool) {
	return statustest.Value(n.metrics(), name, map[string]string{"code": code})
}

// TestMetricsOfTheProgram: what a Service, a step, a sync that failed and probes are counted as. Whether all that is
// called as in kube-proxy is in TestLikeKubeProxy.
func TestMetricsOfTheProgram(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	dns := service("dns", "172.30.0.2")
	dns.Spec.Ports = []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}}
	n.api.Apply(nodeObject(), dns)
	n.api.Behave(kubetest.Behaviour{NoStreams: true}) // requests are measured, watches are not
	n.start()
	n.synced()
	n.eventually("conntrack is cleaned of what the UDP Service may have met before it was there", "1", func() string {
		return number(n.value("kubeproxy_conntrack_reconciler_sync_duration_seconds"))
	})
	const happened, partly = "kubeproxy_network_programming_duration_seconds", "kubeproxy_sync_partial_proxy_rules_duration_seconds"
	if got := n.value(happened); got != 0 {
		t.Errorf("%v changes from before the start were measured", got)
	}

	n.api.Apply(slice("web", "10.180.0.3"))
	n.eventually("a step", "1", func() string { return number(n.value(partly)) })
	if got := n.value(happened); got != 1 {
		t.Errorf("%v changes were measured, want 1", got)
	}
	if wrote := n.value("espalier_commits_total"); wrote < 2 {
		t.Errorf("%v COMMITs, want some for the first sync and one for the step", wrote)
	}

	n.put("busy", "")
	n.api.Apply(slice("web", "10.180.0.4"))
	n.eventually("a step that fails", "1", func() string {
		return number(n.value("kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total"))
	})
	n.remove("busy")
	n.eventually("it is measured when it is in the kernel", "2", func() string { return number(n.value(happened)) })
	if v := n.value("espalier_foreign_writes_total"); v != 0 {
		t.Errorf("%v writes of others, but the only one was ours, and failed", v)
	}
	n.probe("/healthz")
	n.probe("/livez")

	got := n.metrics()
	for _, name := range []string{"rest_client_requests_total", "rest_client_request_duration_seconds", "rest_client_response_size_bytes", "process_cpu_seconds_total", "go_goroutines", "kubernetes_build_info"} {
		if got[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

func number(v float64) string {
	return strings.TrimSuffix(time.Duration(v*float64(time.Second)).String(), "s")
}

// TestQuarantineIsShown: a Service whose rules are refused is named; the others are served.
func TestQuarantineIsShown(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.put("refused", "10.180.66.6\n")
	n.api.Apply(nodeObject(), service("bad", "172.30.0.66"), slice("bad", "10.180.66.6"))
	n.start()
	n.synced()
	bad := map[string]string{"ip_family": "IPv4", "namespace": "shop", "service": "bad"}
	if v, ok := statustest.Value(n.metrics(), "espalier_quarantined_service_info", bad); !ok || v != 1 {
		t.Errorf("shop/bad is named with %v (there: %v), want 1", v, ok)
	}
	if v := n.value("espalier_quarantined_services"); v != 1 {
		t.Errorf("%v Services in quarantine, want 1", v)
	}
	if v := n.value("espalier_programmed_services"); v != 1 {
		t.Errorf("%v Services are programmed, want shop/web", v)
	}
	for _, accept := range []string{"*/*", "text/html"} {
		_, page, _ := n.get("10249/statusz", "Accept", accept)
		for _, part := range []string{"shop/bad", "RULE_APPEND failed"} {
			if !strings.Contains(page, part) {
				t.Errorf("the page for %s does not say %q:\n%s", accept, part, page)
			}
		}
		if !regexp.MustCompile(`\bin (1m|\d+)\d*s\b`).MatchString(page) {
			t.Errorf("the page for %s does not say when it is tried again:\n%s", accept, page)
		}
	}
	n.wantProbe("/healthz", good) // one Service is no reason to drain the node

	n.api.Apply(slice("bad", "10.180.66.7"))
	n.eventually("quarantine", "0", func() string { return number(n.value("espalier_quarantined_services")) })
	if _, ok := statustest.Value(n.metrics(), "espalier_quarantined_service_info", bad); ok {
		t.Error("shop/bad is still named")
	}
	n.eventually("programmed", "2", func() string { return number(n.value("espalier_programmed_services")) })
	if v := n.value("espalier_foreign_writes_total"); v != 0 {
		t.Errorf("%v writes of others, but only we wrote: to find out whose rules are refused, and why", v)
	}
}

// TestForeignWritesAndRepairsAreCounted: somebody flushes a table.
func TestForeignWritesAndRepairsAreCounted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.api.Apply(nodeObject())
	n.start()
	n.synced()
	if v, ok := statustest.Value(n.metrics(), "espalier_repairs_total", map[string]string{"ip_family": "IPv4"}); v != 0 || !ok {
		t.Errorf("%v repairs (there: %v) before anybody wrote, want 0", v, ok)
	}
	if _, err := n.Command(nil, "iptables-nft", "-t", "nat", "-F"); err != nil {
		t.Fatal(err)
	}
	n.eventually("repairs", "1", func() string { return number(n.value("espalier_repairs_total")) })
	for name, least := range map[string]float64{
		"espalier_foreign_writes_total": 1, "espalier_repaired_chains_total": 3, "espalier_repaired_jumps_total": 3,
	} {
		if v := n.value(name); v < least {
			t.Errorf("%s is %v, want at least %v", name, v, least)
		}
	}
}

// TestWaitForTheLockIsShown: another program has it for a while.
func TestWaitForTheLockIsShown(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if _, err := iptables.Open(t.Context(), ipproto.IPv4, iptables.Legacy); err != nil {
		cannot(t, err)
	}
	n.api.Apply(nodeObject())
	n.start("--iptables-backend", "legacy")
	n.synced()
	other, err := os.OpenFile(n.lock(), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	n.api.Apply(slice("web", "10.180.0.3"))
	const held = 300 * time.Millisecond
	n.eventually("the change waits", "yes", func() string {
		if n.value("espalier_oldest_change_age_seconds") < held.Seconds() {
			return "no"
		}
		return "yes"
	})
	_ = other.Close()
	n.eventually("a step", "1", func() string { return number(n.value("kubeproxy_sync_partial_proxy_rules_duration_seconds")) })
	waited := 0.0
	for _, m := range n.metrics()["espalier_lock_wait_seconds"].GetMetric() {
		waited += m.Histogram.GetSampleSum()
	}
	if waited < held.Seconds() {
		t.Errorf("waited %v s for the lock, want %v at least", waited, held)
	}
}

// TestConnectionsToServicesAreCountedIfAskedFor: by the rules that translate them.
func TestConnectionsToServicesAreCountedIfAskedFor(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, line := range []string{"addr add 10.180.0.9/32 dev lo", "route add 198.51.100.0/24 dev lo src 10.180.0.9"} {
		if _, err := n.Command(nil, append([]string{"ip"}, strings.Fields(line)...)...); err != nil {
			t.Fatal(err)
		}
	}
	both := service("both", "172.30.0.5")
	both.Spec.ExternalIPs = []string{"198.51.100.7", "198.51.100.8"}
	n.api.Apply(nodeObject(), both, slice("both", "10.180.0.9"))
	n.start("--service-metrics")
	n.synced()
	for _, to := range []string{"198.51.100.7", "198.51.100.7", "198.51.100.8"} {
		// Nobody listens at the endpoint. That the connection is refused there shows that it was translated.
		if _, err := n.client.Get("http://" + to); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("connect to %s: %v, want it to be refused", to, err)
		}
	}
	labels := map[string]string{"ip_family": "IPv4", "namespace": "shop", "service": "both", "port": "http", "via": "external IP"}
	if got, _ := statustest.Value(n.metrics(), "espalier_service_first_packets_total", labels); got != 3 {
		t.Errorf("%v first packets by external IPs, want 3", got)
	}
	if used := len(n.metrics()["espalier_service_first_packets_total"].GetMetric()); used != 1 {
		t.Errorf("%d ways to Services were used, want 1", used)
	}
	if got, _ := statustest.Value(n.metrics(), "espalier_service_first_packets_bytes_total", labels); got < 3*40 {
		t.Errorf("%v bytes, want those of three packets at least", got)
	}
}

// TestProblemsOfObjectsAreOnThePage: what is wrong with objects is there for people.
func TestProblemsOfObjectsAreOnThePage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	odd := service("odd", "172.30.0.77")
	odd.Spec.ClusterIP, odd.Spec.ClusterIPs = "172.30.0.377", []string{"172.30.0.377"}
	n.api.Apply(nodeObject(), odd, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "none"}})
	n.start()
	n.synced()
	if _, page, _ := n.get("10249/statusz"); !strings.Contains(page, "Service shop/odd: ") || !strings.Contains(page, "172.30.0.377") {
		t.Errorf("the page does not say what is wrong with shop/odd:\n%s", page)
	}
}
