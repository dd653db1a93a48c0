package netns

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/plan"
	"espalier/test/netns/lab"
)

// table is a sequence of states of one cluster. Its rows run one after the other in a lab of their own; tables
// run side by side.
type table struct {
	families []ipproto.Family // none: both
	steps    []step
}

// step changes the state, by a diff from the one before, and then sends packets.
type step struct {
	cluster cluster
	config  func(*plan.Config)         // changes the defaults
	prepare func(*testing.T, *session) // changes the node, before the rules are written
	rows    []row
}

// flowTables are all tables; each is in the file that is called after what it is about.
func flowTables() []table {
	var all []table
	for _, tables := range [][]table{
		overview(), withoutEndpoints(), clusterIPs(), sourceRangesOfVIPs(), nodePorts(), healthCheckNodePorts(),
		externalPolicies(), internalPolicies(), drainingEndpoints(), masquerading(), onlyARealKernelShows(),
		protocols(), detectorsByInterface(), nextToEachOther(), onTheNode(),
	} {
		all = append(all, tables...)
	}
	return all
}

func TestMain(m *testing.M) {
	// The lock of iptables-legacy guards the tables of one namespace against another program. Here each
	// namespace is ours alone, and a user without root may not write to /run.
	dir, err := os.MkdirTemp("", "espalier-netns-")
	if err != nil {
		panic(err)
	}
	os.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "xtables.lock"))
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// TestFlows sends the packets of every row of every table: Flows/nft/ipv4/M19.
func TestFlows(t *testing.T) {
	forEach(t, func(t *testing.T, b iptables.Backend, f ipproto.Family) {
		runTables(t, b, f, flowTables())
	})
}

// forEach runs the test for both backends and both families, side by side.
func forEach(t *testing.T, test func(*testing.T, iptables.Backend, ipproto.Family)) {
	t.Helper()
	needNamespaces(t)
	for _, b := range []iptables.Backend{iptables.NFT, iptables.Legacy} {
		t.Run(b.String(), func(t *testing.T) {
			t.Parallel()
			for _, f := range ipproto.Families {
				t.Run(f.String(), func(t *testing.T) {
					t.Parallel()
					if _, err := iptables.Open(t.Context(), f, b); err != nil {
						cannot(t, err.Error())
					}
					test(t, b, f)
				})
			}
		})
	}
}

// needNamespaces skips the test where no lab can be built.
func needNamespaces(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("sends packets through network namespaces: run without -short")
	}
	if err := lab.Usable(); err != nil {
		cannot(t, err.Error())
	}
}

// cannot skips the test, or fails it where NETNS=1 says that everything is there.
func cannot(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("NETNS") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// runTables runs tables side by side, a few at a time.
func runTables(t *testing.T, b iptables.Backend, f ipproto.Family, tables []table) {
	const atOnce = 4
	slots := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for _, table := range tables {
		if !table.covers(f) {
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			table.run(t, b, f)
		})
	}
	running.Wait()
}

func (tb table) covers(f ipproto.Family) bool {
	return len(tb.families) == 0 || slices.Contains(tb.families, f)
}

// run runs the rows in order. The lab is built for the first row that -run selects, and a step is applied for
// the first row that needs it, after all steps before it.
func (tb table) run(t *testing.T, b iptables.Backend, f ipproto.Family) {
	var s *session
	defer func() {
		if s != nil {
			s.close()
		}
	}()
	applied := 0
	for i, st := range tb.steps {
		for _, r := range st.rows {
			t.Run(r.id, func(t *testing.T) {
				if s == nil {
					s = newSession(t, b, f)
				}
				for ; applied <= i; applied++ {
					tb.steps[applied].apply(t, s)
				}
				s.run(t, r.in(f))
			})
		}
	}
}

func (st step) apply(t *testing.T, s *session) {
	t.Helper()
	if st.prepare != nil {
		st.prepare(t, s)
	}
	s.apply(t, st.cluster, st.config)
	if err := s.FlushConntrack(); err != nil { // or a source port that is used again finds its old translation
		t.Fatal(err)
	}
}
