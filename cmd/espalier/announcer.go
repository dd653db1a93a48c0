package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/rest"

	"espalier/proxier/health"
	"espalier/proxier/model"
	"espalier/proxier/syncer"
	"espalier/watcher/kube"
	"espalier/watcher/kube/events"
)

// Reasons and actions of Events. Those of kube-proxy are what people's alerts look for (kubernetes:
// cmd/kube-proxy/app/server.go, pkg/proxy/healthcheck).
const (
	reasonStarting      = "Starting"
	reasonDefaultMode   = "KubeProxyDefaultMode"
	reasonNoProbes      = "FailedToStartProxierHealthcheck"
	reasonNoMetrics     = "FailedToStartMetricServer"
	reasonNoHealthCheck = "FailedToStartServiceHealthcheck"
	reasonRefused       = "RulesRefused"  // ours
	reasonAccepted      = "RulesAccepted" // ours

	actionStart   = "StartKubeProxy"
	actionListen  = "Listen"
	actionProgram = "ProgramRules"
)

// announcer tells the cluster, by Events, what cannot be seen from outside of the node. Its methods can be called
// from several goroutines.
type announcer struct {
	to   *events.Recorder // nil: there is no cluster
	node string
}

func newAnnouncer(to *events.Recorder, node string) *announcer {
	return &announcer{to: to, node: node}
}

// newRecorder returns what sends Events by the API server of the config, under the limit that all requests share.
func newRecorder(config *rest.Config) (*events.Recorder, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find the host name, as which Events are reported: %w", err)
	}
	return events.New(kube.ShareLimit(config), host)
}

// start says that the node is served from now on. defaulted: nobody chose the mode.
func (a *announcer) start(defaulted bool) {
	a.to.Emit(events.Event{
		Regarding: events.Node(a.node), Reason: reasonStarting, Action: actionStart,
		Note: "espalier " + version + " serves this node in place of kube-proxy",
	})
	if defaulted {
		a.to.Emit(events.Event{
			Regarding: events.Node(a.node), Warning: true, Reason: reasonDefaultMode, Action: actionStart,
			Note: "no mode is configured, so it is iptables; Kubernetes 1.40 takes nftables then: configure \"mode: iptables\" to keep it",
		})
	}
}

// unheard tells the error of a server that could not listen, because of which the process ends, and returns it.
func (a *announcer) unheard(server string, err error) error {
	if err == nil {
		return nil
	}
	reason := reasonNoMetrics
	if server == "probes" {
		reason = reasonNoProbes
	}
	a.to.Emit(events.Event{Regarding: events.Node(a.node), Warning: true, Reason: reason, Action: actionStart, Note: err.Error()})
	return err
}

// unchecked says for which Services load balancers cannot ask. The error is that of health.Responder.Update.
func (a *announcer) unchecked(err error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, one := range joined.Unwrap() {
		e, ok := errors.AsType[*health.ListenError](one)
		if !ok {
			continue
		}
		a.to.Emit(events.Event{
			Regarding: events.Service(e.Service.Namespace, e.Service.Name), Warning: true,
			Reason: reasonNoHealthCheck, Action: actionListen,
			Note: fmt.Sprintf("node %s: %v; load balancers will think that this node has no endpoint", a.node, e),
		})
	}
}

// sync says which Services the kernel begins and ceases to refuse.
func (a *announcer) sync(done syncer.Report) {
	for _, name := range done.LeftOut {
		q := done.Quarantined[name]
		a.program(name, true, reasonRefused, fmt.Sprintf("node %s leaves this Service out of its %s rules, because the kernel refuses them; next trial at %s: %v",
			a.node, done.Family, q.Again.UTC().Format(time.TimeOnly+" UTC"), q.Err))
	}
	for _, name := range done.TakenIn {
		if done.Services[name].Service != nil {
			a.program(name, false, reasonAccepted, fmt.Sprintf("node %s serves this Service by %s again", a.node, done.Family))
		}
	}
}

func (a *announcer) program(of model.ServiceName, warning bool, reason, note string) {
	a.to.Emit(events.Event{
		Regarding: events.Service(of.Namespace, of.Name), Warning: warning, Reason: reason, Action: actionProgram, Note: note,
	})
}
