package recorded

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

func read(t *testing.T, size int, f ipproto.Family) Rules {
	t.Helper()
	rules, err := Read(size, f)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func values(t *testing.T, text string) ruleset.Ruleset {
	t.Helper()
	saved, err := ruleset.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return saved.Rules
}

func equal(a, b ruleset.Ruleset) bool { return maps.EqualFunc(a, b, slices.Equal[[]ruleset.Rule]) }

// TestRulesAreThoseOfTheCluster finds the chains of each Service by their names, and an address translation for each
// endpoint of each port.
func TestRulesAreThoseOfTheCluster(t *testing.T) {
	for _, size := range Sizes() {
		for _, f := range ipproto.Families {
			rules := values(t, string(read(t, size, f)))
			translations := 0
			for _, chain := range rules {
				for _, r := range chain {
					if r.Jump == ruleset.DNAT {
						translations++
					}
				}
			}
			for _, s := range Cluster(size) {
				reachable := s.Endpoints
				if s.Kind == InternalLocal {
					reachable = 1
				}
				translations -= reachable * len(s.Ports)
				for _, p := range s.Ports {
					h := ruleset.Hash(s.Namespace+"/"+s.Name+":"+p.Name, p.Proto.String())
					_, cluster := rules[ruleset.Chain{Table: ruleset.Nat, Name: ruleset.PrefixService + h}]
					_, local := rules[ruleset.Chain{Table: ruleset.Nat, Name: ruleset.PrefixLocal + h}]
					wantLocal := s.Kind == InternalLocal || s.Is(LocalEndpoint)
					if want := s.Endpoints > 0 && s.Kind != InternalLocal; cluster != want || local != wantLocal {
						t.Errorf("%d Services, %s, %s/%s: there is a chain of all endpoints: %v, want %v; of local ones: %v, want %v",
							size, f, s.Namespace, s.Name, cluster, want, local, wantLocal)
					}
				}
			}
			if translations != 0 {
				t.Errorf("%d Services, %s: %d translations more than endpoints", size, f, translations)
			}
		}
	}
}

// TestClustersHaveAllKinds: a small one has most of them, and each begins those that are larger.
func TestClustersHaveAllKinds(t *testing.T) {
	small, large := Cluster(10), Cluster(1000)
	missing := map[Kind]bool{}
	for k := range Kinds() {
		missing[k] = true
	}
	for i, s := range small {
		if !equalServices(s, large[i]) {
			t.Errorf("Service %d is %v among ten, %v among many", i, s, large[i])
		}
		delete(missing, s.Kind)
	}
	if len(missing) != 4 {
		t.Errorf("ten Services lack the kinds %v, want four", missing)
	}
	nodePorts := map[uint16]bool{}
	for _, s := range Cluster(10000) {
		delete(missing, s.Kind)
		for _, n := range []uint16{s.Ports[0].NodePort, s.HealthPort} {
			if n != 0 && nodePorts[n] {
				t.Errorf("%s/%s has the port %d of another", s.Namespace, s.Name, n)
			}
			nodePorts[n] = true
		}
	}
	if len(missing) > 0 {
		t.Errorf("there is no Service of kinds %v", missing)
	}
}

func equalServices(a, b Service) bool {
	return slices.Equal(a.Ports, b.Ports) && a.Name == b.Name && a.Kind == b.Kind && a.First == b.First && a.Endpoints == b.Endpoints
}

// TestInput: in whatever pieces they are loaded, the rules come out the same, and none leads to a chain that is not there.
func TestInput(t *testing.T) {
	for _, f := range ipproto.Families {
		rules := read(t, 1000, f)
		want := values(t, string(rules))
		for _, chains := range []int{0, 1, 7, 200} {
			text, err := rules.Input(chains)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(values(t, string(text)), want) {
				t.Errorf("%s: in blocks of %d chains the rules are others", f, chains)
			}
			known, table := map[string]bool{}, ""
			for line := range strings.Lines(string(text)) {
				switch to := leadsTo(strings.TrimSpace(line)); {
				case line[0] == '*' && strings.TrimSpace(line) != table:
					table = strings.TrimSpace(line)
					clear(known)
				case line[0] == ':':
					known[strings.Fields(line[1:])[0]] = true
				case strings.HasPrefix(to, "KUBE-") && !known[to]:
					t.Fatalf("%s: in blocks of %d chains, %q comes before its chain", f, chains, line)
				}
			}
		}
	}
}

// TestSync: from whatever stands there, a full sync makes the chains of kube-proxy's.
func TestSync(t *testing.T) {
	for _, f := range ipproto.Families {
		rules := read(t, 10, f)
		const before = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-OTHER - [0:0]\n-A KUBE-SERVICES -j KUBE-SVC-OTHER\n-A KUBE-SVC-OTHER -j RETURN\nCOMMIT\n"
		sync, err := rules.Sync([]string{"KUBE-SVC-OTHER"})
		if err != nil {
			t.Fatal(err)
		}
		got, want := values(t, before+string(sync)), values(t, string(rules))
		for c := range want {
			if !ruleset.Owned(c) {
				delete(want, c)
			}
		}
		if !equal(got, want) {
			t.Errorf("%s: got the chains %v, want %v, or their rules differ", f, got.Chains(), want.Chains())
		}
	}
}

// TestWithoutCounters: a kernel without them gets the same rules, less one for each node port.
func TestWithoutCounters(t *testing.T) {
	for _, f := range ipproto.Families {
		rules := read(t, 10, f)
		less := rules.WithoutCounters()
		nodePorts := 0
		for _, s := range Cluster(10) {
			if f == ipproto.IPv4 && s.Ports[0].NodePort != 0 && s.Endpoints > 0 {
				nodePorts++
			}
		}
		if got := strings.Count(string(rules), "\n-A ") - strings.Count(string(less), "\n-A "); got != nodePorts {
			t.Errorf("%s: %d rules less, want %d", f, got, nodePorts)
		}
		if strings.Contains(string(less), "nfacct") || !strings.Contains(string(less), "--ctstate INVALID -j DROP") {
			t.Errorf("%s: a counter is left, or the rule that has one is gone", f)
		}
	}
}
