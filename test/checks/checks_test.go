package checks

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// check is something that has to be so, and the tests that fail if it is not. A test is "folder Test" or, if it is a row
// or a part of one, "folder Test/name of the row".
type check struct {
	says  string
	tests []string
}

// acceptance is what makes a drop-in: given the same, the same comes out of it as of kube-proxy 1.37.2.
var acceptance = []check{
	{"--write-config-to writes the same object for no flags, a kubeadm ConfigMap, a file with an unknown and a duplicate key, and the flags of the GCE manifest", []string{
		"cmd/espalier/config TestLikeKubeProxy/no flags",
		"cmd/espalier/config TestLikeKubeProxy/kubeadm",
		"cmd/espalier/config TestLikeKubeProxy/file: unknown field",
		"cmd/espalier/config TestLikeKubeProxy/file: duplicate key",
		"cmd/espalier/config TestLikeKubeProxy/GCE",
		"cmd/espalier TestWriteConfigWritesWhatTheFileAndTheFlagsComeTo",
	}},
	{"exit status and phase are the same for each flag and field: valid, at the boundary, invalid", []string{
		"cmd/espalier/config TestLikeKubeProxy",
		"cmd/espalier TestCalledAsKubeProxy",
		"cmd/espalier TestUnderscoresInFlagsAreDashes",
		"cmd/espalier TestEmptyArgumentsOfManifestsAreIgnored",
	}},
	{"/healthz and /livez have the same keys and codes: fresh, tainted Node, missing Node, rules that cannot be written before and after twice the sync period, API gone", []string{
		"test/status TestLikeKubeProxy/probes",
		"test/status TestLikeKubeProxy/no-node",
		"proxier/health TestProbes",
		"test/status TestProbesOfAProcessThatNeverSawTheServer",
	}},
	{"health check node port: code, weight header and body for 0, 1 and 2 local ready, only terminating, unhealthy proxy, removed Service, port taken", []string{
		"test/status TestLikeKubeProxy/health-check-ports",
		"proxier/health TestAnswer",
		"proxier/health TestResponderPortTaken",
		"proxier/health TestResponderClosesHard",
		"test/life TestTellsOfAHealthCheckPortThatIsTaken",
	}},
	{"the set of kubeproxy_* names, types, labels and buckets is the same after one Service, one failing and one partial sync", []string{
		"test/status TestLikeKubeProxy/metrics",
		"test/status TestMetricsOfTheProgram",
		"proxier/status TestNothingIsShownBeforeItHappened",
	}},
	{"an API server is asked for the three watches with their selectors, and for nothing else but Events", []string{
		"test/status TestLikeKubeProxy/api",
		"test/life TestWhatIsAskedOfTheAPIServer",
		"watcher/kube TestRunRequests",
		"deploy TestRBAC",
	}},
	{"endpoints that flap at 100 events a second lead to at most one sync per duration and minimum interval, and to one after the last event", []string{
		"proxier/syncer TestFlappingEndpointsAreSyncedAtThePaceOfWrites/with a minimum interval",
		"proxier/syncer TestFlappingEndpointsAreSyncedAtThePaceOfWrites/without one, half of what a write takes",
		"test/life TestFlappingEndpoints",
	}},
	{"a flush of all tables is repaired within the sync period, 5 s and the time of a sync; here within 2 s", []string{
		"test/netns TestSteady/repair",
		"test/netns TestSteady/the whole ruleset is flushed",
		"test/netns TestSteady/all tables are flushed and their chains deleted",
		"proxier/syncer TestWriteOfSomebodyElseIsRepairedWithinTwoSeconds/everything is flushed",
	}},
	{"SIGTERM leaves the rules of all tables as they are", []string{
		"test/life TestTheEndLeavesAllRules/TERM",
		"test/netns TestDropIn/kubeadm's ConfigMap",
	}},
	{"a restart loses no packet of established and of new connections", []string{
		"test/netns TestSteady/restart",
	}},
	{"it runs with CAP_NET_ADMIN alone, with nft, after an init step", []string{
		"test/netns TestDropIn/read-only sysctls",
	}},
}

// better is where kube-proxy does worse. D1 to D14 are the names of the contract for them; each test fails if we do as
// kube-proxy does.
var better = []check{
	{"D1: a first sync that fails is tried again soon, and so is a repair; kube-proxy waits for up to an hour", []string{
		"proxier/syncer TestRefusedWriteIsReadBackAndTriedAgainWithoutAnyChange",
		"proxier/syncer TestRepairThatIsRefusedIsTriedAgain",
	}},
	{"D2: a change that arrives during a sync is not served by its success", []string{
		"cmd/espalier TestProgressKnowsWhatIsPending/a change arrived during the sync",
		"proxier/health TestHealthy",
	}},
	{"D3: a failed sync leaves something pending, although nothing new has arrived", []string{
		"cmd/espalier TestProgressKnowsWhatIsPending/the sync failed",
		"proxier/health TestHealthy",
	}},
	{"D4: health check node ports answer where probes are switched off", []string{
		"test/status TestHealthCheckNodePortsWithoutProbes",
	}},
	{"D5: a request for a Service that has just been removed is answered with 503", []string{
		"proxier/health TestResponderClosesHard",
	}},
	{"D6: session affinity without a configuration is three hours, and no panic", []string{
		"watcher/convert TestService/affinity without a configuration",
		"watcher/convert TestService/affinity without a client IP",
	}},
	{"D7: a slice that another Service gets leaves the old one", []string{
		"watcher TestChanges/a slice that another Service gets leaves the old one",
	}},
	{"D8: who cannot find out whether rules are there does not take them for gone", []string{
		"proxier/syncer TestKernelThatCannotBeAskedIsNotTakenForDamaged",
		"proxier/iptables TestLockBusy",
	}},
	{"D9: what waits in both families is added up", []string{
		"proxier/status TestReportsBecomeMetrics",
	}},
	{"D10: the first and the last Events of a process arrive", []string{
		"cmd/espalier TestAnnouncer/a mode that nobody chose",
		"test/life TestTellsWhyItCannotServeProbes",
		"watcher/kube/events TestLastWords",
	}},
	{"D11: what was deleted while nobody watched is gone; ServiceCIDRs are not watched", []string{
		"watcher/kube TestRunNoticesDeletionsAfterAnOutage",
		"watcher/kube TestSinkForeignObjects",
		"test/life TestWhatIsAskedOfTheAPIServer",
	}},
	{"D12: more than an hour between writes is refused when it is configured, and no panic", []string{
		"cmd/espalier/config TestLikeKubeProxy/iptables-min-sync-period above an hour",
	}},
	{"D13: node ports on the node's address are open nowhere while that is unknown", []string{
		"cmd/espalier/config TestNodePortPrefixes/an unknown node's address opens nothing",
	}},
	{"D14: an endpoint whose address is none is left out, and said", []string{
		"watcher/convert TestSlice",
	}},
}

// TestEachCheckHasItsTests: the tests that are named here are there.
func TestEachCheckHasItsTests(t *testing.T) {
	folders := map[string]folder{}
	for _, c := range append(append([]check{}, acceptance...), better...) {
		if len(c.tests) == 0 {
			t.Errorf("no test shows that %s", c.says)
		}
		for _, test := range c.tests {
			dir, name, _ := strings.Cut(test, " ")
			name, row, _ := strings.Cut(name, "/")
			if _, read := folders[dir]; !read {
				folders[dir] = readFolder(t, dir)
			}
			if !folders[dir].tests[name] {
				t.Errorf("%s has no %s, which should show that %s", dir, name, c.says)
			}
			if row != "" && !folders[dir].texts[row] {
				t.Errorf("%s has no row %q in %s, which should show that %s", dir, row, name, c.says)
			}
		}
	}
}

// TestAllDeviationsAreListed: none of D1 to D14 is missing.
func TestAllDeviationsAreListed(t *testing.T) {
	for i, c := range better {
		if name := "D" + strconv.Itoa(i+1) + ": "; !strings.HasPrefix(c.says, name) {
			t.Errorf("entry %d is %q, want %s", i+1, c.says, name)
		}
	}
	if len(better) != 14 {
		t.Errorf("%d entries, want 14", len(better))
	}
}

// folder is what the tests in a folder are called, and which texts they contain: names of rows are among them.
type folder struct{ tests, texts map[string]bool }

func readFolder(t *testing.T, dir string) folder {
	t.Helper()
	f := folder{map[string]bool{}, map[string]bool{}}
	files, err := filepath.Glob(filepath.Join("..", "..", dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	for _, path := range files {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				f.tests[n.Name.Name] = n.Recv == nil
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					f.texts[text] = true
				}
			}
			return true
		})
	}
	return f
}
