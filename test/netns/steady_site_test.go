package netns

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"espalier/proxier/delta"
	"espalier/proxier/generation"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/ruleset"
	"espalier/test/netns/lab"
)

// site is a lab whose node runs the real program, which follows a directory of manifests.
type site struct {
	*lab.Lab
	backend iptables.Backend
	kernel  *iptables.Kernel
	dir     string // of the manifests
	drafts  string // where they are written before they are renamed into dir
	env     []string
	flags   []string // beyond those that launch gives
	program string
	running *program
	// pace is that in which each client connects; zero: a millisecond. few is how often each does until there were some;
	// zero: 20 times.
	pace time.Duration
	few  int
}

// program is one life of the program.
type program struct {
	cmd  *exec.Cmd
	log  lab.Record
	done chan struct{}
}

// TestSteady runs the real program and connects to Services without pause while it restarts, takes over, follows
// changes, repairs and starts cold. The backends and the parts run one after the other: what is measured against a
// clock should not compete with itself.
func TestSteady(t *testing.T) {
	needNamespaces(t)
	path := build(t, "espalier")
	for _, b := range []iptables.Backend{iptables.NFT, iptables.Legacy} {
		t.Run(b.String(), func(t *testing.T) {
			if _, err := iptables.Open(t.Context(), ipproto.IPv4, b); err != nil {
				cannot(t, err.Error())
			}
			for _, part := range []struct {
				name string
				test func(*testing.T, *site)
			}{
				{"restart", steadyRestart},
				{"takeover", steadyTakeover},
				{"churn", steadyChurn},
				{"repair", steadyRepair},
				{"cold start", steadyColdStart},
				{"a Service is refused and its line is named", refusedByLine},
				{"a Service is refused and only the COMMIT is named", refusedByCommit},
				{"endpoints come and go in one change", betweenTables},
				{"nothing differs", nothingToDiffer},
				{"an address comes", addressComes},
				{"the kernel lacks recent", lacking(iptables.Recent)},
				{"the kernel lacks statistic", lacking(iptables.Statistic)},
				{"the kernel lacks addrtype", lacking(iptables.AddrType)},
				{"the kernel lacks REJECT", lacking(iptables.Reject)},
			} {
				t.Run(part.name, func(t *testing.T) { part.test(t, newSite(t, b, path)) })
			}
		})
	}
}

// build builds the program under a name.
func build(t *testing.T, name string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", path, "espalier/cmd/espalier").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return path
}

func newSite(t *testing.T, b iptables.Backend, path string) *site {
	t.Helper()
	return newSiteOf(t, ipproto.IPv4, b, path)
}

func newSiteOf(t *testing.T, f ipproto.Family, b iptables.Backend, path string) *site {
	t.Helper()
	tmp := t.TempDir()
	s := &site{
		Lab: newLab(t, f), backend: b, program: path,
		dir: filepath.Join(tmp, "manifests"), drafts: filepath.Join(tmp, "drafts"),
	}
	t.Cleanup(func() {
		if s.running != nil {
			s.stop(t)
		}
		s.Lab.Close()
	})
	for _, dir := range []string{s.dir, s.drafts} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if s.kernel, err = iptables.Open(t.Context(), f, b); err != nil {
		t.Fatal(err)
	}
	s.put(t, "node", nil)
	return s
}

// put writes a manifest, with the own Node, and renames it into place.
func (s *site) put(t *testing.T, name string, c cluster) {
	t.Helper()
	text := c.manifests()
	if c != nil { // the Node stands in a file of its own
		_, text, _ = strings.Cut(text, "---\n")
	}
	if s.Family == ipproto.IPv6 {
		text = sixText(text)
	}
	draft := filepath.Join(s.drafts, name)
	if err := os.WriteFile(draft, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(draft, s.path(name)); err != nil {
		t.Fatal(err)
	}
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name+".yaml") }

// start starts the program, and returns when it has synced.
func (s *site) start(t *testing.T) {
	t.Helper()
	s.launch(t)
	s.awaitLog(t, `"Synced" family="ipv4"`, `"Synced" family="ipv6"`)
}

// launch starts the program.
func (s *site) launch(t *testing.T) {
	t.Helper()
	argv := []string{
		s.program, "run", "--manifests", s.dir, "--hostname-override", nodeName,
		"--cluster-cidr", prefixIn(s.Family, netip.MustParsePrefix("10.0.0.0/8")).String(), "--iptables-backend", s.backend.String(), "-v", "2",
		"--conntrack-max-per-core", "0", // the size of the table is the machine's
	}
	s.exec(t, append(argv, s.flags...)...)
}

// exec starts a command line on the node.
func (s *site) exec(t *testing.T, argv ...string) {
	t.Helper()
	p := &program{done: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(os.Environ(), s.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	// The thread that forks it lives as long as the lab.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.Host(lab.Node).Do(p.cmd.Start); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	s.running = p
}

// stop asks the program to end, and waits for it.
func (s *site) stop(t *testing.T) {
	t.Helper()
	p := s.running
	s.running = nil
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it ended
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		t.Errorf("the program does not end; its log:\n%s", &p.log)
	}
	if t.Failed() {
		t.Logf("log of the program:\n%s", &p.log)
	}
}

// awaitLog waits until the program has logged all of the texts.
func (s *site) awaitLog(t *testing.T, texts ...string) {
	t.Helper()
	s.eventually(t, patience, func() string { return s.missingInLog(texts...) })
}

// missingInLog says which of the texts the program has not logged, or nothing.
func (s *site) missingInLog(texts ...string) string {
	log := s.running.log.String()
	for _, text := range texts {
		if !strings.Contains(log, text) {
			return fmt.Sprintf("not logged: %s", text)
		}
	}
	return ""
}

// eventually polls until there is nothing wrong any more, and says how long that took.
func (s *site) eventually(t *testing.T, limit time.Duration, wrong func() string) time.Duration {
	t.Helper()
	started := time.Now()
	for {
		why := wrong()
		took := time.Since(started)
		switch {
		case why == "":
			return took
		case took > limit:
			log := "not running"
			if s.running != nil {
				log = s.running.log.String()
			}
			t.Fatalf("after %v still: %s\nlog of the program:\n%s", limit, why, log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// on runs a command on the node.
func (s *site) on(t *testing.T, stdin string, argv ...string) {
	t.Helper()
	if _, err := s.Host(lab.Node).Command(strings.NewReader(stdin), argv...); err != nil {
		t.Fatal(err)
	}
}

// saved returns all rules that the node has. The thread of the node starts the tool, and does not wait for it: sockets are made
// there, too.
func (s *site) saved(t *testing.T) ruleset.Saved {
	t.Helper()
	text, err := s.Host(lab.Node).Command(nil, s.kernel.SaveCommand)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := ruleset.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// other says how the rules differ from those that were saved earlier, or nothing. Each jump stands once, and what
// was there earlier stands in the same order.
func (s *site) other(t *testing.T, want ruleset.Saved) string {
	t.Helper()
	have := s.saved(t)
	for _, j := range ruleset.Jumps() {
		n := 0
		for _, r := range have.Rules[j.From] {
			if r == j.Rule {
				n++
			}
		}
		if n != 1 {
			return fmt.Sprintf("%d jumps from %v to %s", n, j.From, j.Rule.Jump)
		}
		before, now := common(want.Rules[j.From], have.Rules[j.From]), common(have.Rules[j.From], want.Rules[j.From])
		if !slices.Equal(before, now) {
			return fmt.Sprintf("another order of rules in %v: %v, which was %v", j.From, now, before)
		}
	}
	if b := delta.Between(owned(have.Rules), owned(want.Rules)); len(b.Write)+len(b.Delete) > 0 {
		return fmt.Sprintf("other rules than before: to write %v, to delete %v", slices.Collect(maps.Keys(b.Write)), b.Delete)
	}
	return ""
}

// common returns those of the rules that others have, too.
func common(rules, others []ruleset.Rule) []ruleset.Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r ruleset.Rule) bool { return !slices.Contains(others, r) })
}

// owned returns the chains that are ours alone.
func owned(rules ruleset.Ruleset) ruleset.Ruleset {
	ours := maps.Clone(rules)
	maps.DeleteFunc(ours, func(c ruleset.Chain, _ []ruleset.Rule) bool { return !ruleset.Owned(c) })
	return ours
}

// stamp reads what changes whenever somebody writes to the tables.
func (s *site) stamp(t *testing.T) (all [2]generation.Stamp) {
	t.Helper()
	err := s.Host(lab.Node).Do(func() error {
		for i, f := range ipproto.Families {
			open := func() (*generation.Probe, error) { return generation.OpenLegacy(f) }
			if s.backend == iptables.NFT {
				open = generation.OpenNFT
			}
			probe, err := open()
			if err != nil {
				return err
			}
			defer probe.Close()
			if all[i], err = probe.Read(t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// endpointsFrom returns n addresses of endpoints.
func endpointsFrom(network, n int) (addrs []string) {
	for i := range n {
		addrs = append(addrs, fmt.Sprintf("10.180.%d.%d", network, 1+i))
	}
	return addrs
}

func on80(addrs []string) (all []netip.AddrPort) {
	for _, a := range addrs {
		all = append(all, netip.AddrPortFrom(netip.MustParseAddr(a), 80))
	}
	return all
}
