package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"espalier/proxier/health"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/syncer"
	"espalier/watcher/kube/events"
	"espalier/watcher/kube/kubetest"
)

// announced returns what the API server has after some calls of an announcer: "Warning Service shop/web Listen X: note".
func announced(t *testing.T, say func(a *announcer)) []string {
	t.Helper()
	server := kubetest.Start()
	defer server.Close()
	recorder, err := events.New(&rest.Config{Host: server.URL, QPS: -1}, "host-1")
	if err != nil {
		t.Fatal(err)
	}
	say(newAnnouncer(recorder, "node-1"))
	ended, cancel := context.WithCancel(t.Context())
	cancel() // so that it sends what there is, and returns
	if err := recorder.Run(ended); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range server.Events() {
		of := strings.TrimPrefix(e.Regarding.Namespace+"/"+e.Regarding.Name, "/")
		got = append(got, fmt.Sprintf("%s %s %s %s %s: %s", e.Type, e.Regarding.Kind, of, e.Action, e.Reason, e.Note))
	}
	return got
}

func TestAnnouncer(t *testing.T) {
	web := model.ServiceName{Namespace: "shop", Name: "web"}
	db := model.ServiceName{Namespace: "shop", Name: "db"}
	all := map[model.ServiceName]model.Entry{web: {Service: &model.Service{Name: web}}, db: {Service: &model.Service{Name: db}}}
	at := time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)
	report := func(services map[model.ServiceName]model.Entry) syncer.Report {
		return syncer.Report{Family: ipproto.IPv4, Whole: true, Services: services}
	}
	leftOut := report(all)
	leftOut.LeftOut = []model.ServiceName{web}
	leftOut.Quarantined = map[model.ServiceName]syncer.Quarantined{web: {Err: errors.New("line 7 refused"), Again: at}}
	still := report(all)
	still.Quarantined = leftOut.Quarantined
	takenIn := report(all)
	takenIn.TakenIn = []model.ServiceName{web}
	const refused = "Warning Service shop/web ProgramRules RulesRefused: node node-1 leaves this Service out of its ipv4 rules, because the kernel refuses them; next trial at 12:30:00 UTC: line 7 refused"
	const accepted = "Normal Service shop/web ProgramRules RulesAccepted: node node-1 serves this Service by ipv4 again"
	port := func(s model.ServiceName, on string) error {
		return &health.ListenError{Service: s, On: netip.MustParseAddrPort(on), Err: errors.New("taken")}
	}
	for _, test := range []struct {
		name string
		say  func(a *announcer)
		want []string
	}{
		{"the start", func(a *announcer) { a.start(false) },
			[]string{"Normal Node node-1 StartKubeProxy Starting: espalier dev serves this node in place of kube-proxy"}},
		{"a mode that nobody chose", func(a *announcer) { a.start(true) },
			[]string{"Normal Node node-1 StartKubeProxy Starting: espalier dev serves this node in place of kube-proxy",
				`Warning Node node-1 StartKubeProxy KubeProxyDefaultMode: no mode is configured, so it is iptables; Kubernetes 1.40 takes nftables then: configure "mode: iptables" to keep it`}},
		{"ports of our own that are taken", func(a *announcer) {
			_ = a.unheard("metrics", errors.New("serve metrics on 0.0.0.0:10249: taken"))
			_ = a.unheard("probes", errors.New("serve probes on 0.0.0.0:10256: taken"))
			_ = a.unheard("probes", nil)
		}, []string{"Warning Node node-1 StartKubeProxy FailedToStartMetricServer: serve metrics on 0.0.0.0:10249: taken",
			"Warning Node node-1 StartKubeProxy FailedToStartProxierHealthcheck: serve probes on 0.0.0.0:10256: taken"}},
		{"health checks that nobody can ask for", func(a *announcer) {
			a.unchecked(errors.Join(port(web, "0.0.0.0:32100"), port(db, "[::]:32101"), errors.New("other")))
			a.unchecked(nil)
		}, []string{
			"Warning Service shop/web Listen FailedToStartServiceHealthcheck: node node-1: answer health checks of Service shop/web on 0.0.0.0:32100: taken; load balancers will think that this node has no endpoint",
			"Warning Service shop/db Listen FailedToStartServiceHealthcheck: node node-1: answer health checks of Service shop/db on [::]:32101: taken; load balancers will think that this node has no endpoint",
		}},
		{"nothing is refused", func(a *announcer) { a.sync(report(all)) }, nil},
		{"a refusal is told once, and its end", func(a *announcer) {
			a.sync(leftOut)
			a.sync(still)
			a.sync(takenIn)
			a.sync(report(all))
		}, []string{refused, accepted}},
		{"a Service that is deleted is not accepted", func(a *announcer) {
			a.sync(leftOut)
			takenIn := takenIn
			takenIn.Services = map[model.ServiceName]model.Entry{db: all[db]}
			a.sync(takenIn)
		}, []string{refused}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, announced(t, test.say)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
	newAnnouncer(nil, "node-1").start(true) // no cluster, no error
}
