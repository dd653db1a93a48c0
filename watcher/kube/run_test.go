package kube

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"espalier/watcher/kube/kubetest"
)

// shop fills a server with what the proxy wants and with what it does not want.
func shop(s *kubetest.Server) {
	s.Apply(
		service("web", "10.96.0.1", "fd00::1"),
		service("db", "10.96.0.2"),
		service("headless", "None"),
		labelled(service("theirs", "10.96.0.3"), "service.kubernetes.io/service-proxy-name"),
		slice("web", "web-1", "10.0.0.1@here", "10.0.0.2@there"),
		slice("web", "web-6", "fd01::1@there"),
		labelled(slice("db", "db-headless", "10.0.0.9@here"), "service.kubernetes.io/headless"),
		nodeObject("here", "eu-1", "192.168.0.1"),
		nodeObject("there", "eu-2", "192.168.0.2"),
	)
}

// shopLines is what the proxy should make of it.
var shopLines = []string{
	`Node here in "eu-1" at 192.168.0.1`,
	"shop/db 10.96.0.2:80",
	"shop/web 10.96.0.1:80 to 10.0.0.1:8080 local to 10.0.0.2:8080",
	`Node here in "eu-1" at invalid IP`,
	"shop/web [fd00::1]:80 to [fd01::1]:8080",
}

// Whatever the server can do, the Tracker gets the same cluster, and the changes after it.
func TestRunWithAnyServer(t *testing.T) {
	for _, test := range []struct {
		name      string
		behaviour kubetest.Behaviour
		requests  []string // the first ones for Services
	}{
		{"streams in protobuf", kubetest.Behaviour{}, []string{"watch services stream"}},
		{"streams in JSON", kubetest.Behaviour{JSONOnly: true}, []string{"watch services stream"}},
		{"no streams", kubetest.Behaviour{NoStreams: true}, []string{"watch services stream", "list services from 0", "watch services from 10"}},
		{"no streams, JSON", kubetest.Behaviour{NoStreams: true, JSONOnly: true}, []string{"watch services stream", "list services from 0", "watch services from 10"}},
		{"streams without selectors", kubetest.Behaviour{IgnoreSelectors: true}, []string{"watch services stream"}},
		{"lists without selectors", kubetest.Behaviour{IgnoreSelectors: true, NoStreams: true}, []string{"watch services stream", "list services from 0", "watch services from 10"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.server.Behave(test.behaviour)
			shop(r.server)
			r.run(hurry())
			r.wantCluster(shopLines...)
			r.wantRequests(len(test.requests), ofResource("services"))

			r.server.Apply(slice("web", "web-1", "10.0.0.3@there"), nodeObject("here", "eu-9", "192.168.0.1"))
			r.server.Delete(service("db", "10.96.0.2"))
			r.server.Apply(service("api", "10.96.0.4"), slice("api", "api-1", "10.0.0.4@here"))
			r.wantCluster(
				`Node here in "eu-9" at 192.168.0.1`,
				"shop/api 10.96.0.4:80 to 10.0.0.4:8080 local",
				"shop/web 10.96.0.1:80 to 10.0.0.3:8080",
				`Node here in "eu-9" at invalid IP`,
				"shop/web [fd00::1]:80 to [fd01::1]:8080",
			)
			var got []string
			for _, q := range r.server.Requests() {
				if q.Resource == "services" {
					got = append(got, q.String())
				}
			}
			if diff := cmp.Diff(test.requests, got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.log)+len(r.reports) > 0 {
				t.Errorf("nothing was wrong, but:\n%s", strings.Join(slices.Concat(r.log, r.reports), "\n"))
			}
		})
	}
}

func ofResource(name string) func(kubetest.Request) bool {
	return func(q kubetest.Request) bool { return q.Resource == name }
}

// What is asked of the server is all that an operator sees of us in its audit log.
func TestRunRequests(t *testing.T) {
	r := newRig(t)
	shop(r.server)
	r.config.REST.UserAgent = "espalier/test"
	r.run(hurry())
	r.wantCluster(shopLines...)
	type asked struct{ Labels, Fields, Accept, Agent string }
	got := map[string]asked{}
	for _, q := range r.server.Requests() {
		got[q.String()] = asked{q.Query.Get("labelSelector"), q.Query.Get("fieldSelector"), q.Header.Get("Accept"), q.Header.Get("User-Agent")}
	}
	const accept = "application/vnd.kubernetes.protobuf, */*"
	want := map[string]asked{
		"watch services stream":       {"!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None", accept, "espalier/test"},
		"watch endpointslices stream": {"!service.kubernetes.io/headless", "", accept, "espalier/test"},
		"watch nodes stream":          {"", "metadata.name=here", accept, "espalier/test"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// An object that stops to be ours leaves, however the server says it.
func TestRunObjectLeaves(t *testing.T) {
	r := newRig(t)
	shop(r.server)
	r.run(hurry())
	r.wantCluster(shopLines...)
	r.server.Apply(
		labelled(service("web", "10.96.0.1", "fd00::1"), "service.kubernetes.io/service-proxy-name"), // arrives as deleted
		slice("db", "web-1", "10.0.0.1@here"),                                                        // moves to another Service
		slice("web", "web-6"),                                                                        // and here nobody is left
	)
	r.wantCluster(
		`Node here in "eu-1" at 192.168.0.1`,
		"shop/db 10.96.0.2:80 to 10.0.0.1:8080 local",
		`Node here in "eu-1" at invalid IP`,
	)
	unlabelled := slice("db", "web-1", "10.0.0.1@here")
	unlabelled.Labels = nil // arrives as modified, and belongs to nobody
	r.server.Apply(unlabelled, service("web", "10.96.0.1"))
	r.wantCluster(
		`Node here in "eu-1" at 192.168.0.1`,
		"shop/db 10.96.0.2:80",
		"shop/web 10.96.0.1:80",
		`Node here in "eu-1" at invalid IP`,
	)
}

// What was deleted while we could not watch is gone afterwards.
func TestRunNoticesDeletionsAfterAnOutage(t *testing.T) {
	for name, b := range map[string]kubetest.Behaviour{"by stream": {}, "by list": {NoStreams: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.server.Behave(b)
			shop(r.server)
			r.run(hurry())
			r.wantCluster(shopLines...)

			down := b
			down.Refuse = func(kubetest.Request) *metav1.Status {
				return kubetest.Refusal(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "the server is on holiday")
			}
			r.server.Behave(down)
			r.server.Cut()
			r.until("line about the outage for each resource", func() bool { return r.logged("does not deliver") >= 3 })
			r.server.Delete(service("web", "10.96.0.1"), slice("web", "web-6"))
			r.server.Apply(service("api", "10.96.0.4"), slice("db", "db-1", "10.0.0.7@here"))
			r.server.Forget() // so that there is no way but to list again
			r.wantCluster(shopLines...)

			r.server.Behave(b)
			r.wantCluster(
				`Node here in "eu-1" at 192.168.0.1`,
				"shop/api 10.96.0.4:80",
				"shop/db 10.96.0.2:80 to 10.0.0.7:8080 local",
				`Node here in "eu-1" at invalid IP`,
			)
			r.server.Apply(service("web", "10.96.0.1")) // the slice web-1 has been there all the time
			r.wantCluster(
				`Node here in "eu-1" at 192.168.0.1`,
				"shop/api 10.96.0.4:80",
				"shop/db 10.96.0.2:80 to 10.0.0.7:8080 local",
				"shop/web 10.96.0.1:80 to 10.0.0.1:8080 local to 10.0.0.2:8080",
				`Node here in "eu-1" at invalid IP`,
			)
			r.server.Bookmark() // a quiet watch shows that it works by nothing else
			r.until("line about the end of the outage", func() bool { return r.logged("delivers again") >= 3 })
		})
	}
}

// A connection that breaks costs one request, from where we were.
func TestRunResumesAWatch(t *testing.T) {
	r := newRig(t)
	shop(r.server)
	r.run(hurry())
	r.wantCluster(shopLines...)
	// A watch that ends within a second without any event counts as a failed one, so let there be one.
	r.server.Apply(service("api", "10.96.0.4"))
	r.wantCluster(append([]string{shopLines[0], "shop/api 10.96.0.4:80"}, shopLines[1:]...)...)
	r.server.Cut()
	r.wantRequests(1, func(q kubetest.Request) bool { return q.String() == "watch services from 11" })
	r.server.Delete(service("api", "10.96.0.4"))
	r.wantCluster(shopLines...)
}

// A server that has forgotten where we were is asked for everything again.
func TestRunGone(t *testing.T) {
	for name, b := range map[string]kubetest.Behaviour{"by stream": {}, "by list": {NoStreams: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.server.Behave(b)
			shop(r.server)
			r.run(hurry())
			r.wantCluster(shopLines...)
			r.server.Forget()
			r.wantRequests(2, func(q kubetest.Request) bool {
				return q.Resource == "services" && (q.Verb == "list" || !b.NoStreams && strings.Contains(q.String(), "stream"))
			})
			r.server.Delete(service("db", "10.96.0.2"))
			r.wantCluster(shopLines[0], shopLines[2], shopLines[3], shopLines[4])
		})
	}
}

// A bookmark is as good as a change to show that a watch works.
func TestRunBookmark(t *testing.T) {
	r := newRig(t)
	shop(r.server)
	r.run(hurry())
	r.wantCluster(shopLines...)
	r.server.Behave(kubetest.Behaviour{Refuse: kubetest.Forbid("watch", "services")})
	r.server.Forget()
	r.until("line about the watch", func() bool { return r.logged("watch services") >= 1 })
	r.server.Behave(kubetest.Behaviour{})
	r.server.Bookmark()
	r.until("line about the sign of life", func() bool { return r.logged("delivers again") >= 1 })
}

func TestRunWithoutPermission(t *testing.T) {
	for _, test := range []struct {
		verb, resource string
		want           []string
	}{
		{"", "services", []string{"watch services: ", `cannot watch resource`, `verbs list and watch on the resource services of the core API group`, "system:node-proxier"}},
		{"", "endpointslices", []string{"watch endpointslices: ", `verbs list and watch on the resource endpointslices of the API group discovery.k8s.io`}},
		{"watch", "endpointslices", []string{"watch endpointslices: ", `verbs list and watch on the resource endpointslices of the API group discovery.k8s.io`}},
	} {
		t.Run(test.verb+" "+test.resource, func(t *testing.T) {
			r := newRig(t)
			shop(r.server)
			r.server.Behave(kubetest.Behaviour{Refuse: kubetest.Forbid(test.verb, test.resource)})
			r.run(hurry())
			r.wantRequests(10, ofResource(test.resource))
			r.until("clear error", func() bool {
				return slices.ContainsFunc(r.log, func(line string) bool {
					return !slices.ContainsFunc(test.want, func(w string) bool { return !strings.Contains(strings.ReplaceAll(line, `\"`, `"`), w) })
				})
			})
			if _, _, ok := r.v4.Snapshot(); ok && test.verb == "" {
				t.Errorf("there is a snapshot without %s", test.resource)
			}
			r.mu.Lock()
			// Lists that work between watches that do not are no news.
			if bad, good := r.logged("does not deliver"), r.logged("delivers again"); bad != 1 || good != 0 {
				t.Errorf("%d lines about the same error and %d about its end, want 1 and 0:\n%s", bad, good, strings.Join(r.log, "\n"))
			}
			r.mu.Unlock()
			r.server.Behave(kubetest.Behaviour{})
			r.wantCluster(shopLines...)
			r.server.Bookmark() // a quiet watch shows that it works by nothing else
			r.until("line about the end of it", func() bool { return r.logged("delivers again") >= 1 })
		})
	}
}

// What is incomplete when Run ends stays invisible.
func TestRunEndsBeforeItIsComplete(t *testing.T) {
	r := newRig(t)
	shop(r.server)
	r.server.Behave(kubetest.Behaviour{Refuse: kubetest.Forbid("", "endpointslices")})
	r.run(hurry())
	r.wantRequests(4, ofResource("endpointslices"))
	r.stop()
	r.wantCluster("not synced", "not synced")
}

// SIGTERM must not wait for a delay between attempts, of which a reflector has several kinds.
func TestRunEndsWhileTheServerIsAway(t *testing.T) {
	r := newRig(t)
	r.server.Close()
	r.run(tempo{pace: wait.Backoff{Duration: time.Hour, Cap: time.Hour, Steps: 2, Factor: 2}})
	r.until("line about the missing server", func() bool { return r.logged("connection refused") >= 3 })
	r.stop()
}

func TestRunWithoutNodeName(t *testing.T) {
	r := newRig(t)
	r.config.NodeName = ""
	if err := Run(context.Background(), r.config); err == nil || !strings.Contains(err.Error(), "name of the own Node") {
		t.Errorf("Run: %v, want an error about the name", err)
	}
}

func TestRunBadURL(t *testing.T) {
	r := newRig(t)
	r.config.REST.Host = "http://bad host"
	if err := Run(context.Background(), r.config); err == nil || !strings.Contains(err.Error(), `API server "http://bad host"`) {
		t.Errorf("Run: %v, want an error about the URL", err)
	}
}
