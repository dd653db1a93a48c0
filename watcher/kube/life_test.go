package kube

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"espalier/proxier/model"
	"espalier/watcher/convert"
	"espalier/watcher/kube/kubetest"
)

// external returns the Node with an external address more.
func external(n *corev1.Node, addr string) *corev1.Node {
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: addr})
	return n
}

func withRanges(n *corev1.Node, cidrs ...string) *corev1.Node {
	n.Spec.PodCIDRs = cidrs
	return n
}

func in(zone string, n *corev1.Node) *corev1.Node {
	n.Labels[corev1.LabelTopologyZone] = zone
	return n
}

// here is the own Node with addresses.
func here(addrs ...string) *corev1.Node { return nodeObject("here", "eu-1", addrs...) }

// What may happen to the own Node while its rules are served, and what ends the process. What goes on comes with
// another zone, so that it can be seen to have arrived.
func TestRunWhenTheNodeChanges(t *testing.T) {
	for _, test := range []struct {
		name          string
		needRanges    bool
		before, after *corev1.Node // after nil: it is deleted
		ends          string       // empty: it goes on
	}{
		{"another zone", false, here("192.168.0.1"), in("eu-2", here("192.168.0.1")), ""},
		{"another address", false, here("192.168.0.1"), here("192.168.0.2"),
			`the addresses of Node "here" changed from 192.168.0.1 to 192.168.0.2`},
		{"the first address", false, here(), here("192.168.0.1"),
			`the addresses of Node "here" changed from none to 192.168.0.1`},
		{"no address any more", false, here("192.168.0.1"), here(),
			`the addresses of Node "here" changed from 192.168.0.1 to none`},
		{"a second family", false, here("192.168.0.1"), here("192.168.0.1", "fd00::1"),
			`the addresses of Node "here" changed from 192.168.0.1 to 192.168.0.1, fd00::1`},
		{"the other family first", false, here("192.168.0.1", "fd00::1"), here("fd00::1", "192.168.0.1"),
			`the addresses of Node "here" changed from 192.168.0.1, fd00::1 to fd00::1, 192.168.0.1`},
		{"a second address of a family, which nothing uses", false, here("192.168.0.1"), in("eu-2", here("192.168.0.1", "192.168.0.2")), ""},
		{"an external address beside an internal one", false, here("192.168.0.1"), in("eu-2", external(here("192.168.0.1"), "203.0.113.1")), ""},
		{"other pod ranges, on which rules depend", true, withRanges(here("192.168.0.1"), "10.1.0.0/24"), withRanges(here("192.168.0.1"), "10.2.0.0/24"),
			`the pod ranges (spec.podCIDRs) of Node "here" changed from 10.1.0.0/24 to 10.2.0.0/24`},
		{"pod ranges that vanish", true, withRanges(here("192.168.0.1"), "10.1.0.0/24"), here("192.168.0.1"),
			`the pod ranges (spec.podCIDRs) of Node "here" changed from 10.1.0.0/24 to none`},
		{"other pod ranges, on which nothing depends", false, withRanges(here("192.168.0.1"), "10.1.0.0/24"), in("eu-2", withRanges(here("192.168.0.1"), "10.2.0.0/24")), ""},
		{"it is deleted", false, here("192.168.0.1"), nil, `the Node "here" was deleted`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.config.NeedPodCIDRs = test.needRanges
			// Another Node, of a server that ignores selectors, is nothing to us.
			r.server.Behave(kubetest.Behaviour{IgnoreSelectors: true})
			r.server.Apply(test.before, nodeObject("there", "eu-7", "192.168.0.7"))
			ended := r.start(impatient())
			r.see("the Node", func(s model.Snapshot) bool { return s.Node.Zone == "eu-1" })
			r.server.Apply(nodeObject("there", "eu-7", "192.168.0.8"))
			r.server.Delete(nodeObject("there", "eu-7"))
			if test.after == nil {
				r.server.Delete(test.before)
			} else {
				r.server.Apply(test.after)
			}
			if test.ends == "" {
				r.see("the other zone", func(s model.Snapshot) bool { return s.Node.Zone == "eu-2" })
				r.stop()
			}
			if got := result(t, r, ended); got != test.ends {
				t.Errorf("Run ended with %q, want %q", got, test.ends)
			}
			if s, _, _ := r.v4.Snapshot(); test.ends != "" && s.Node.IP != convert.Node(test.before).IPv4 {
				t.Errorf("rules are to follow to %v before the end", s.Node.IP)
			}
		})
	}
}

// A Node that was deleted while nobody watched is gone, too.
func TestRunWhenTheNodeIsMissingAfterAnOutage(t *testing.T) {
	for name, b := range map[string]kubetest.Behaviour{"by stream": {}, "by list": {NoStreams: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.server.Behave(b)
			shop(r.server)
			ended := r.start(hurry())
			r.wantCluster(shopLines...)
			down := b
			down.Refuse = kubetest.Forbid("", "nodes")
			r.server.Behave(down)
			r.server.Cut()
			r.until("line about the outage", func() bool { return r.logged("does not deliver") >= 1 })
			r.server.Delete(here())
			r.server.Forget()
			r.server.Behave(b)
			if got := result(t, r, ended); got != `the Node "here" was deleted` {
				t.Errorf("Run ended with %q", got)
			}
			r.wantCluster(shopLines...)
		})
	}
}

// result returns how Run ended, without what is said about every end; empty: with the context.
func result(t *testing.T, r *rig, ended <-chan error) string {
	t.Helper()
	select {
	case err := <-ended:
		if err == nil {
			return ""
		}
		text, _ := strings.CutSuffix(err.Error(), ": this process was set up for the node as it was; started again, it takes over the rules as they are")
		return text
	case <-r.ctx.Done():
		t.Fatal("Run goes on")
		return ""
	}
}

// What is known of the Node when the start is over, and when there is no start.
func TestRunReady(t *testing.T) {
	for _, test := range []struct {
		name       string
		needRanges bool
		node       *corev1.Node // nil: none
		want       string       // the addresses that Ready is told, or the end
		logged     string
	}{
		{"all is there", true, withRanges(here("192.168.0.1"), "10.1.0.0/24"), "192.168.0.1", ""},
		{"without an address it goes on", false, here(), "none", "The Node has no address; going on without"},
		{"without a Node, too", false, nil, "none", "The Node does not exist; going on without"},
		{"but not without pod ranges, if rules depend on them", true, here("192.168.0.1"),
			`recognise local pods by the pod ranges of the Node "here" (--detect-local-mode=NodeCIDR): none were allocated in 5m0s (spec.podCIDRs is empty); does the controller manager run with --allocate-node-cidrs?`, ""},
		{"nor without a Node then", true, nil,
			`recognise local pods by the pod ranges of the Node "here" (--detect-local-mode=NodeCIDR): the API server has had no such Node for 5m30s; is --hostname-override right?`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.config.NeedPodCIDRs = test.needRanges
			if test.node != nil {
				r.server.Apply(test.node)
			}
			var told []string
			r.config.Ready = func(n convert.NodeFacts) error {
				if _, _, ok := r.v4.Snapshot(); ok {
					t.Error("the state is visible before Ready has returned")
				}
				told = append(told, addresses(n))
				return errors.New("enough")
			}
			got := result(t, r, r.start(impatient()))
			if got == "enough" { // the error of Ready is that of Run
				got = strings.Join(told, " and then ")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, _, ok := r.v4.Snapshot(); ok {
				t.Error("the state is visible although Run gave up")
			}
			if test.logged != "" && r.logged(test.logged) != 1 {
				t.Errorf("log %q, want %q once", r.log, test.logged)
			}
		})
	}
}

// Nothing is served before the Node is read, however good the rest is.
func TestRunWithoutAnswerAboutTheNode(t *testing.T) {
	r := newRig(t)
	shop(r.server)
	r.server.Behave(kubetest.Behaviour{Refuse: kubetest.Forbid("", "nodes")})
	r.run(impatient())
	r.wantRequests(10, ofResource("nodes"))
	r.until("advice", func() bool { return r.logged("verbs list and watch on the resource nodes of the core API group") >= 1 })
	r.wantCluster("not synced", "not synced")
	r.server.Behave(kubetest.Behaviour{})
	r.wantCluster(shopLines...)
}
