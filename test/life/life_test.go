package life

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"espalier/watcher/kube/kubetest"
)

// What an operator sees in the audit log of the API server: three watches, and Events.
func TestWhatIsAskedOfTheAPIServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.api.Apply(node("127.0.0.1"))
	s.start("--cluster-cidr", "10.180.0.0/16")
	s.served("172.30.0.1")
	s.told("Normal Node node-1 StartKubeProxy Starting")
	s.api.Apply(service("api", "172.30.0.2"), slice("api", "10.180.0.2"))
	s.served("172.30.0.2")

	var got []string
	for _, q := range s.api.Requests() {
		text := strings.TrimSuffix(q.String()+" of "+q.Group, " of ")
		for _, selector := range []string{"labelSelector", "fieldSelector"} {
			if v := q.Query.Get(selector); v != "" {
				text += " if " + v
			}
		}
		got = append(got, text)
	}
	slices.Sort(got)
	got = slices.Compact(got) // there may be several Events
	want := []string{
		"create events of events.k8s.io",
		"watch endpointslices stream of discovery.k8s.io if !service.kubernetes.io/headless",
		"watch nodes stream if metadata.name=node-1",
		"watch services stream if !service.kubernetes.io/service-proxy-name if spec.clusterIP!=None",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if agent := s.api.Requests()[0].Header.Get("User-Agent"); !strings.HasPrefix(agent, "kube-proxy/v1.") || !strings.Contains(agent, " espalier/") {
		t.Errorf("user agent %q, want that of kube-proxy, with our name behind it", agent)
	}
	s.terminate()
	s.exits(0, "the rules stay in place")
}

// Each of these ends the process, which leaves the rules as they were.
func TestExitsWhenTheNodeIsAnotherOne(t *testing.T) {
	t.Parallel()
	ranged := func(n *corev1.Node, cidr string) *corev1.Node {
		n.Spec.PodCIDRs = []string{cidr}
		return n
	}
	for _, test := range []struct {
		name          string
		args          []string
		before, after *corev1.Node // after nil: it is deleted
		words         string
	}{
		{"its addresses change", []string{"--cluster-cidr=10.180.0.0/16"}, node("127.0.0.1"), node("127.0.0.2"),
			`error: the addresses of Node "node-1" changed from 127.0.0.1 to 127.0.0.2: this process was set up for the node as it was`},
		{"its pod ranges change", []string{"--detect-local-mode=NodeCIDR"}, ranged(node("127.0.0.1"), "10.180.0.0/24"), ranged(node("127.0.0.1"), "10.180.1.0/24"),
			`error: the pod ranges (spec.podCIDRs) of Node "node-1" changed from 10.180.0.0/24 to 10.180.1.0/24: `},
		{"it is deleted", []string{"--cluster-cidr=10.180.0.0/16"}, node("127.0.0.1"), nil, `error: the Node "node-1" was deleted: `},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.api.Apply(test.before)
			s.start(test.args...)
			s.served("172.30.0.1")
			before := s.rules()
			if test.after == nil {
				s.api.Delete(test.before)
			} else {
				s.api.Apply(test.after)
			}
			s.exits(1, test.words)
			if diff := cmp.Diff(ruleLines(before), ruleLines(s.rules())); diff != "" {
				t.Errorf("rules of the nat table (-before +after):\n%s", diff)
			}
		})
	}
}

// ruleLines leaves out the comments of iptables-save, which have the time.
func ruleLines(saved string) []string {
	return slices.DeleteFunc(strings.Split(saved, "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
}

func TestExitsWhenItCannotServeThePrimaryFamily(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		args  []string
		node  *corev1.Node
		words string // empty: it runs
	}{
		{"the Node's first address is IPv6", nil, node("fd00::1", "127.0.0.1"), "--bind-address"},
		{"a bind address of IPv6", []string{"--bind-address=fd00::1"}, node("127.0.0.1"), "--bind-address"},
		{"a bind address of IPv4", []string{"--bind-address=127.0.0.1"}, node("fd00::1"), ""},
		{"the Node's first address is IPv4", nil, node("127.0.0.1", "fd00::1"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if err := s.Sysctl("ipv6/conf/all/disable_ipv6", "1"); err != nil {
				t.Fatal(err)
			}
			s.api.Apply(test.node)
			s.start(append(test.args, "--cluster-cidr=10.180.0.0/16")...)
			if test.words == "" {
				s.served("172.30.0.1")
				s.runs()
				return
			}
			s.exits(1, test.words)
			if rules := s.rules(); strings.Contains(rules, "172.30.0.1") {
				t.Errorf("there are rules:\n%s", rules)
			}
		})
	}
}

// Without a Node nothing is served for half a minute; then it goes on without one.
func TestNodeThatDoesNotExist(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("--cluster-cidr=10.180.0.0/16")
	started := time.Now()
	s.eventually("watches", "3", func() string {
		n := 0
		for _, q := range s.api.Requests() {
			if q.Verb == "watch" {
				n++
			}
		}
		return string(rune('0' + n))
	})
	for time.Since(started) < 20*time.Second {
		if strings.Contains(s.rules(), "172.30.0.1") {
			t.Fatalf("there are rules after %v", time.Since(started))
		}
		time.Sleep(time.Second)
	}
	s.served("172.30.0.1")
	if took := time.Since(started); took < 29*time.Second {
		t.Errorf("there are rules after %v", took)
	}
	if log := s.log.String(); !strings.Contains(log, "The Node does not exist; going on without") {
		t.Error("the log does not say that the Node is missing")
	}
	s.api.Apply(node("127.0.0.1"))
	s.exits(1, `the addresses of Node "node-1" changed from none to 127.0.0.1`)
}

// An API server that is away changes nothing; what happened meanwhile is caught up with.
func TestOutlivesTheAPIServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.api.Apply(node("127.0.0.1"), service("old", "172.30.0.9"), slice("old", "10.180.0.9"))
	s.start("--cluster-cidr=10.180.0.0/16")
	s.served("172.30.0.9")
	before := s.rules()
	s.silence()
	s.eventually("log", "3", func() string {
		return string(rune('0' + strings.Count(s.log.String(), "The API server does not deliver; what is known stays in force")))
	})
	s.api.Delete(service("old", "172.30.0.9"), slice("old"))
	s.api.Apply(service("new", "172.30.0.8"), slice("new", "10.180.0.8"))
	s.api.Forget()
	if diff := cmp.Diff(ruleLines(before), ruleLines(s.rules())); diff != "" {
		t.Errorf("rules of the nat table (-before +after):\n%s", diff)
	}
	s.runs()
	s.serve()
	s.served("172.30.0.8")
	s.eventually("rules for 172.30.0.9", "gone", func() string {
		if strings.Contains(s.rules(), "172.30.0.9") {
			return "there"
		}
		return "gone"
	})
}

// An API server that is away at the start is awaited without an end, and without a rule.
func TestWaitsForTheAPIServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.api.Apply(node("127.0.0.1"))
	s.silence()
	s.start("--cluster-cidr=10.180.0.0/16")
	s.eventually("log", "true", func() string { return boolText(strings.Contains(s.log.String(), "connection refused")) })
	s.runs()
	if rules := s.rules(); strings.Contains(rules, "KUBE-SERVICES") {
		t.Errorf("there are rules:\n%s", rules)
	}
	s.serve()
	s.served("172.30.0.1")
	s.told("Normal Node node-1 StartKubeProxy Starting")
}

// The end comes at once, also while it waits for the API server or for the Node.
func TestEndsWhileItWaits(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{true, false} {
		t.Run(map[bool]string{true: "for the API server", false: "for the Node"}[away], func(t *testing.T) {
			t.Parallel()
			s, sign := newSite(t), "Caches populated\" type=\"nodes\""
			if away {
				s.silence()
				sign = "connection refused"
			}
			s.start("--cluster-cidr=10.180.0.0/16")
			s.eventually("log", "true", func() string { return boolText(strings.Contains(s.log.String(), sign)) })
			asked := time.Now()
			s.terminate()
			s.exits(0, "Stopping; the rules stay in place")
			if took := time.Since(asked); took > 5*time.Second {
				t.Errorf("the end took %v", took)
			}
		})
	}
}

// Permission for the Node is as needed as that for the rest.
func TestWaitsForPermission(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.api.Apply(node("127.0.0.1"))
	s.api.Behave(kubetest.Behaviour{Refuse: kubetest.Forbid("", "nodes")})
	s.start("--cluster-cidr=10.180.0.0/16")
	s.eventually("log", "true", func() string {
		return boolText(strings.Contains(s.log.String(), "needs RBAC permission for the verbs list and watch on the resource nodes"))
	})
	if rules := s.rules(); strings.Contains(rules, "172.30.0.1") {
		t.Errorf("there are rules:\n%s", rules)
	}
	s.api.Behave(kubetest.Behaviour{})
	s.served("172.30.0.1")
}

func TestTellsOfAHealthCheckPortThatIsTaken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	taken := s.listen("0.0.0.0:32100")
	defer taken.Close()
	lb := service("lb", "172.30.0.7")
	lb.Spec.Type, lb.Spec.ExternalTrafficPolicy, lb.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, 32100
	s.api.Apply(node("127.0.0.1"), lb, slice("lb", "10.180.0.7"))
	s.start("--cluster-cidr=10.180.0.0/16")
	s.told("Warning Service shop/lb Listen FailedToStartServiceHealthcheck")
	s.api.Apply(slice("lb", "10.180.0.8"))
	s.eventually("repeats", "true", func() string {
		return boolText(slices.ContainsFunc(s.api.Requests(), func(q kubetest.Request) bool { return q.Verb == "patch" }))
	})
}

// A port of its own that is taken ends the process, if that is wished, and not before it has told.
func TestTellsWhyItCannotServeProbes(t *testing.T) {
	t.Parallel()
	for port, event := range map[string]string{
		"10249": "Warning Node node-1 StartKubeProxy FailedToStartMetricServer",
		"10256": "Warning Node node-1 StartKubeProxy FailedToStartProxierHealthcheck",
	} {
		t.Run(port, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			taken := s.listen("127.0.0.1:" + port)
			defer taken.Close()
			s.api.Apply(node("127.0.0.1"))
			s.start("--cluster-cidr=10.180.0.0/16", "--bind-address-hard-fail", "--healthz-bind-address=127.0.0.1:10256")
			s.exits(1, "address already in use")
			s.told(event)
		})
	}
}

// A Service that the kernel refuses is an Event of that Service, and so is the end of it.
func TestTellsOfARefusedService(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	heal := s.refuse("10.180.66.6")
	s.api.Apply(node("127.0.0.1"), service("bad", "172.30.0.6"), slice("bad", "10.180.66.6"))
	s.start("--cluster-cidr=10.180.0.0/16")
	s.served("172.30.0.1")
	s.told("Warning Service shop/bad ProgramRules RulesRefused")
	heal()
	s.api.Apply(slice("bad", "10.180.66.6", "10.180.66.7")) // it is tried again when it changes
	s.told("Normal Service shop/bad ProgramRules RulesAccepted")
	for _, e := range s.events() {
		if strings.Contains(e, "shop/web") {
			t.Errorf("event %q of a Service that is served", e)
		}
	}
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
