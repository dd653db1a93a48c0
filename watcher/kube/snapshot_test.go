package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/watcher/kube/kubetest"
)

func TestSnapshot(t *testing.T) {
	r := newRig(t)
	shop(r.server)
	r.server.Apply(broken("bad"))
	if err := Snapshot(r.ctx, r.config); err != nil {
		t.Fatal(err)
	}
	r.wantCluster(append([]string{shopLines[0], "shop/bad 10.96.0.1:80"}, shopLines[1:]...)...)
	var got []string
	for _, q := range r.server.Requests() {
		got = append(got, q.String())
	}
	if diff := cmp.Diff([]string{"list services", "list endpointslices", "list nodes"}, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if len(r.reports) != 1 || !strings.Contains(r.reports[0], "Service shop/bad") {
		t.Errorf("reports %q, want one about Service shop/bad", r.reports)
	}
}

func TestSnapshotReadsPages(t *testing.T) {
	r := newRig(t)
	const services = 2*pageSize + 1
	for i := range services {
		r.server.Apply(service(fmt.Sprint("s", i), fmt.Sprintf("10.96.%d.%d", i/250, i%250+1)))
	}
	if err := Snapshot(r.ctx, r.config); err != nil {
		t.Fatal(err)
	}
	if s, _, _ := r.v4.Snapshot(); len(s.Services) != services {
		t.Errorf("%d Services, want %d", len(s.Services), services)
	}
	n := 0
	for _, q := range r.server.Requests() {
		if q.Resource == "services" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d requests for %d Services, want 3", n, services)
	}
}

func TestSnapshotWithoutNode(t *testing.T) {
	r := newRig(t)
	if err := Snapshot(r.ctx, r.config); err != nil {
		t.Fatal(err)
	}
	r.wantCluster()
	if len(r.reports) != 1 || !strings.Contains(r.reports[0], "Node here: the API server has no such Node") {
		t.Errorf("reports %q, want one about the missing Node", r.reports)
	}

	r = newRig(t)
	r.config.NodeName = ""
	shop(r.server)
	if err := Snapshot(r.ctx, r.config); err != nil {
		t.Fatal(err)
	}
	r.wantCluster("shop/db 10.96.0.2:80", "shop/web 10.96.0.1:80 to 10.0.0.1:8080 to 10.0.0.2:8080", "shop/web [fd00::1]:80 to [fd01::1]:8080")
	if len(r.reports) > 0 {
		t.Errorf("reports %q, want none", r.reports)
	}
}

func TestSnapshotErrors(t *testing.T) {
	r := newRig(t)
	r.server.Behave(kubetest.Behaviour{Refuse: kubetest.Forbid("list", "endpointslices")})
	err := Snapshot(r.ctx, r.config)
	if err == nil || !strings.Contains(err.Error(), "read the cluster: list endpointslices: ") || !strings.Contains(err.Error(), "RBAC") {
		t.Errorf("error %v, want one about endpointslices and RBAC", err)
	}
	r.wantCluster("not synced", "not synced")
	if len(r.log) > 0 {
		t.Errorf("the error is returned and logged: %q", r.log)
	}

	canceled, cancel := context.WithCancel(r.ctx)
	cancel()
	if err := Snapshot(canceled, r.config); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that the context was canceled", err)
	}
	r.server.Close()
	if err := Snapshot(r.ctx, r.config); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v, want one about the connection", err)
	}
}
