// Package deploy_test compares what is deployed with what the program does.
package deploy_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"espalier/watcher"
	"espalier/watcher/kube"
	"espalier/watcher/kube/events"
	"espalier/watcher/kube/kubetest"
)

// allowed returns the rules of the ClusterRole, as "list services", with the API group behind a dot if it has a name.
func allowed(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("base/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var role struct {
			Kind  string
			Rules []struct{ APIGroups, Resources, Verbs []string }
		}
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		for _, r := range role.Rules {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, verb := range r.Verbs {
						all = append(all, strings.TrimSuffix(verb+" "+resource+"."+group, "."))
					}
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// used returns what is asked of an API server, one that has no streams, so that everything is used.
func used(t *testing.T) []string {
	t.Helper()
	server := kubetest.Start()
	defer server.Close()
	server.Behave(kubetest.Behaviour{NoStreams: true})
	config := &rest.Config{Host: server.URL, QPS: -1}
	recorder, err := events.New(config, "host-1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { _ = recorder.Run(ctx) })
	running.Go(func() { _ = kube.Run(ctx, kube.Config{REST: config, NodeName: "node-1", Tracker: watcher.New()}) })

	for range 2 {
		recorder.Emit(events.Event{Regarding: events.Node("node-1"), Reason: "Starting", Action: "StartKubeProxy"})
	}
	for _, want := range []string{"watch services", "watch endpointslices", "watch nodes", "patch events"} {
		err := server.Await(ctx, 1, func(q kubetest.Request) bool {
			return q.Verb+" "+q.Resource == want && q.Query.Get("sendInitialEvents") == ""
		})
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
	}
	cancel()
	var all []string
	for _, q := range server.Requests() {
		all = append(all, strings.TrimSuffix(q.Verb+" "+q.Resource+"."+q.Group, "."))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// The permissions are exactly those that are needed.
func TestRBAC(t *testing.T) {
	if diff := cmp.Diff(used(t), allowed(t)); diff != "" {
		t.Errorf("what is used, and what base/rbac.yaml allows (-used +allowed):\n%s", diff)
	}
}
