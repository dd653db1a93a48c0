package kube

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher"
)

// What is said about a Node that comes and goes.
func TestNode(t *testing.T) {
	const missing = "the API server has no such Node"
	for _, test := range []struct {
		name     string
		steps    string // what happens, in order
		want     []string
		zone     string
		eligible bool
	}{
		{"it is there", "set, late, set", nil, "eu-1", true},
		{"it comes in time", "replace, set, late", nil, "eu-1", true},
		{"it comes too late", "replace, late, set", []string{missing, "fine"}, "eu-1", true},
		{"it never comes", "replace, late, replace", []string{missing}, "", false},
		{"it is deleted: its facts stay", "set, late, delete, replace", []string{missing}, "eu-1", false},
		{"it is replaced during the start", "set, delete, set, late", nil, "eu-1", true},
		{"it is deleted during the start", "set, delete, late", []string{missing}, "eu-1", false},
		{"another one is nothing to us", "other, late", []string{missing}, "", false},
		{"it is about to be removed", "set, leave, late", nil, "eu-1", false},
		{"it may stay after all", "leave, set, late", nil, "eu-1", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			tracker := watcher.New()
			tracker.SetSynced()
			view := tracker.View(ipproto.IPv4)
			var got []string
			reports := newReports(func(object string, problems []model.Problem) {
				switch {
				case object != "Node here":
					t.Errorf("report about %q", object)
				case len(problems) == 0:
					got = append(got, "fine")
				case strings.Contains(problems[0].Text, missing):
					got = append(got, missing)
				default:
					t.Errorf("problems: %v", problems)
				}
			})
			n := &node{name: "here", tracker: tracker, reports: reports, usable: newSignal(), ranged: newSignal(), logger: klog.Logger{}}
			sink := nodeSink(n)
			sink.reports, sink.link, sink.listed = reports, &link{}, func() {}
			object := nodeObject("here", "eu-1", "192.168.0.1")
			for step := range strings.SplitSeq(test.steps, ", ") {
				var err error
				switch step {
				case "set":
					err = sink.Update(object)
				case "leave":
					leaving := object.DeepCopy()
					leaving.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler"}}
					err = sink.Update(leaving)
				case "other":
					err = sink.Add(nodeObject("there", "eu-2", "192.168.0.2"))
				case "delete":
					err = sink.Delete(object)
				case "replace":
					err = sink.Replace(nil, "7")
				case "late":
					n.addressless()
				}
				if err != nil {
					t.Fatalf("%s: %v", step, err)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
			if s, _, _ := view.Snapshot(); s.Node.Zone != test.zone {
				t.Errorf("zone %q, want %q", s.Node.Zone, test.zone)
			}
			if got := tracker.Eligible(); got != test.eligible {
				t.Errorf("eligible for load balancers: %v, want %v", got, test.eligible)
			}
			select {
			case <-n.usable.ch:
				if !slices.Contains(strings.Split(test.steps, ", "), "set") {
					t.Error("a Node without address counts as usable")
				}
			default:
				if test.zone != "" {
					t.Error("a Node with an address does not count as usable")
				}
			}
		})
	}
}

// A Node that exists but has no address yet is waited for, and is no problem.
func TestNodeWithoutAddress(t *testing.T) {
	reports := newReports(func(object string, problems []model.Problem) { t.Errorf("%s: %v", object, problems) })
	n := &node{name: "here", tracker: watcher.New(), reports: reports, usable: newSignal(), ranged: newSignal()}
	sink := nodeSink(n)
	sink.reports, sink.link = reports, &link{}
	if err := sink.Add(nodeObject("here", "eu-1")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.usable.ch:
		t.Error("it counts as usable")
	default:
	}
	n.addressless()
}
