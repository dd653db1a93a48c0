package netns

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"espalier/test/netns/lab"
)

// steadyColdStart: while a large cluster is loaded, a connection is served as it should be or not at all, and
// the API server and the DNS are served before the rest.
func steadyColdStart(t *testing.T, s *site) {
	t.Helper()
	files, streams := basics()
	s.putAll(t, files)
	var many cluster
	for i := range 2000 {
		name, low := fmt.Sprintf("many/s%04d", i), fmt.Sprintf("%d.%d", i/200, 1+i%200)
		many = append(many, service(name, "172.31."+low, tcpPort("p80", 80, 0)),
			slice(name, target("p80", 80), "10.180.11"+low[:1]+"."+fmt.Sprint(1+i%200), "10.180.12"+low[:1]+"."+fmt.Sprint(1+i%200)))
	}
	s.put(t, "many", many)
	s.put(t, "vital", cluster{
		service("default/kubernetes", "172.30.0.1", tcpPort("https", 443, 0)),
		slice("default/kubernetes", target("https", 443), "10.180.30.1"),
		service("kube-system/kube-dns", "172.30.0.10", port("dns", corev1.ProtocolUDP, 53, 0), tcpPort("dns-tcp", 53, 0)),
		slice("kube-system/kube-dns", target("dns-tcp", 53).and("dns", corev1.ProtocolUDP, 53), "10.180.30.2"),
	})
	vital := []row{
		{id: "the API server", from: pod, to: tcp("172.30.0.1:443"), want: plain("10.180.30.1:443")},
		{id: "the DNS", from: pod, to: tcp("172.30.0.10:53"), want: plain("10.180.30.2:53")},
	}
	first := map[string]time.Time{}
	served := func(r row) {
		if _, done := first[r.id]; done {
			return
		}
		o, err := s.Try(r.probe(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		if o.Verdict == lab.Answered && o.Answer.At == r.want.endpoints[0] {
			first[r.id] = time.Now()
		}
	}
	clients := s.connect(t, notYet, streams)
	s.launch(t)
	launched := time.Now()
	rest := []row{{id: "the rest", from: pod, to: tcp("172.30.0.41:80"), want: plain("10.180.1.1:80")}}
	s.eventually(t, 2*patience, func() string {
		// The rest is asked first: an answer that it gives is not earlier than that of the vital ones after it.
		for _, r := range append(rest, vital...) {
			served(r)
		}
		if len(first) < 3 {
			return fmt.Sprintf("served only %v", first)
		}
		return ""
	})
	for _, r := range vital {
		t.Logf("%s after %v, the rest after %v", r.id, first[r.id].Sub(launched).Round(time.Millisecond),
			first["the rest"].Sub(launched).Round(time.Millisecond))
		if first[r.id].After(first["the rest"]) {
			t.Errorf("%s was served after the rest", r.id)
		}
	}
	s.awaitLog(t, `"Synced" family="ipv4"`)
	clients.some(t, streams) // those that were begun in time are over
	clients.forgive(nothing)
	clients.some(t, streams)
	clients.stop(t)
}
