package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
)

// fakeKernel behaves like a kernel: it holds rules, and refuses when told to, after one of the tables.
type fakeKernel struct {
	rules ruleset.Ruleset
	saves int
	// batches are those that were accepted.
	batches []delta.Batch
	// refuse makes that many writes fail, after the filter table was committed.
	refuse int
	// unreadable makes each Save fail.
	unreadable atomic.Bool
	// poison is an endpoint whose rules are refused; anonymously: without saying which line it is.
	poison      netip.AddrPort
	anonymously bool
	healed      atomic.Bool
	// reading is how long a Save takes, and writing how long an Apply.
	reading, writing time.Duration
	// foreign counts writes of others.
	foreign atomic.Uint64
	// doubts counts own writes that failed, of this family or the other.
	doubts atomic.Uint64
}

// A poisonError is the refusal of a line.
type poisonError struct{ line string }

func (e *poisonError) Error() string { return "refused: " + e.line }

func refusedLine(err error) (string, bool) {
	if p, ok := errors.AsType[*poisonError](err); ok {
		return p.line, true
	}
	return "", false
}

func (k *fakeKernel) refuses(b delta.Batch) error {
	for c, rules := range b.Write {
		for _, r := range rules {
			switch {
			case !k.poison.IsValid() || r.To != k.poison || k.healed.Load():
			case k.anonymously:
				return &poisonError{"COMMIT"}
			default:
				return &poisonError{"-A " + c.Name + " " + r.Text(ipproto.IPv4)}
			}
		}
	}
	return nil
}

var (
	errRefused    = errors.New("line 7 refused")
	errUnreadable = errors.New("permission denied")
)

func (k *fakeKernel) Save(context.Context, ...ruleset.Table) (ruleset.Saved, error) {
	k.saves++
	time.Sleep(k.reading)
	if k.unreadable.Load() {
		return ruleset.Saved{}, errUnreadable
	}
	return ruleset.Saved{Rules: delta.Apply(k.rules, delta.Batch{})}, nil
}

func (k *fakeKernel) Apply(_ context.Context, b delta.Batch) (delta.Written, error) {
	time.Sleep(k.writing)
	written, err := b.Encode(io.Discard, ipproto.IPv4, delta.Legacy)
	if err != nil {
		return written, err
	}
	if err := k.refuses(b); err != nil {
		return written, err
	}
	if k.refuse > 0 {
		k.refuse--
		half := delta.Batch{Write: ruleset.Ruleset{}}
		for c, rules := range b.Write {
			if c.Table == ruleset.Filter {
				half.Write[c] = rules
			}
		}
		k.rules = delta.Apply(k.rules, half)
		return written, errRefused
	}
	k.rules = delta.Apply(k.rules, b)
	k.batches = append(k.batches, b)
	return written, nil
}

// fakeSource has one snapshot, which tests replace.
type fakeSource struct {
	changed chan struct{}

	mu       sync.Mutex
	snapshot model.Snapshot
	steps    map[model.ServiceName]model.Entry
	since    time.Time
	stepped  bool // once at least
	complete bool
}

func (f *fakeSource) Changed() <-chan struct{} { return f.changed }

func (f *fakeSource) Step() (model.Step, time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.complete {
		return model.Step{}, time.Time{}, false
	}
	step := model.Step{Family: f.snapshot.Family, Node: f.snapshot.Node, All: !f.stepped, Services: f.steps}
	if step.All {
		step.Services = f.snapshot.Services
	}
	f.stepped = true
	return step, f.take(), true
}

func (f *fakeSource) Snapshot() (model.Snapshot, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshot, f.take()
}

func (f *fakeSource) take() time.Time {
	since := f.since
	f.since, f.steps = time.Time{}, nil
	return since
}

// A backed is a Service with its endpoints.
type backed struct {
	*model.Service
	endpoints []string
}

func back(s *model.Service, endpoints ...string) backed { return backed{s, endpoints} }

func (b backed) entry() model.Entry {
	e := model.Entry{Service: b.Service}
	if len(b.endpoints) > 0 {
		e.Backends = model.Backends{}
	}
	for _, addr := range b.endpoints {
		key := b.Ports[0].PortKey
		e.Backends[key] = append(e.Backends[key], model.Endpoint{Addr: netip.MustParseAddrPort(addr), Ready: true, Serving: true})
	}
	return e
}

// set replaces all Services by some without endpoints.
func (f *fakeSource) set(services ...*model.Service) {
	gone := map[model.ServiceName]model.Entry{}
	f.mu.Lock()
	for name := range f.snapshot.Services {
		gone[name] = model.Entry{}
	}
	f.mu.Unlock()
	var all []backed
	for _, s := range services {
		all = append(all, back(s))
		delete(gone, s.Name)
	}
	f.change(gone, all...)
}

// change adds, changes and removes Services in one step.
func (f *fakeSource) change(gone map[model.ServiceName]model.Entry, some ...backed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	services := maps.Clone(f.snapshot.Services)
	if services == nil {
		services = map[model.ServiceName]model.Entry{}
	}
	if f.steps == nil {
		f.steps = map[model.ServiceName]model.Entry{}
	}
	for name := range gone {
		delete(services, name)
		f.steps[name] = model.Entry{}
	}
	for _, b := range some {
		services[b.Name], f.steps[b.Name] = b.entry(), b.entry()
	}
	f.snapshot = model.Snapshot{Family: ipproto.IPv4, Services: services}
	f.since, f.complete = time.Now(), true
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func service(name, ip string) *model.Service {
	return &model.Service{
		Name: model.ServiceName{Namespace: "shop", Name: name}, ClusterIP: netip.MustParseAddr(ip),
		Ports: []model.ServicePort{{PortKey: model.PortKey{Proto: ipproto.TCP}, Port: 80}},
	}
}

var config = plan.Config{MasqueradeMark: 0x4000, NodePortAddresses: []netip.Prefix{ipproto.IPv4.All()}, DropInvalid: true}

// run starts a Syncer in a bubble of fake time and hands its reports to the test.
func run(t *testing.T, k *fakeKernel, test func(source *fakeSource, reports <-chan Report, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{changed: make(chan struct{}, 1)}
		reports := make(chan Report, 100)
		s := &Syncer{
			Family: ipproto.IPv4, Kernel: k, Source: source,
			Settings: func(n model.Node) (model.Node, plan.Config, error) { return n, config, nil },
			Foreign: func(context.Context) (Others, error) {
				return Others{Writes: k.foreign.Load(), Doubts: k.doubts.Load()}, nil
			},
			Refused:       refusedLine,
			Report:        func(r Report) { reports <- r },
			RetryInterval: 30 * time.Second,
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		stopped := false
		stop := func() {
			if stopped {
				return
			}
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run returned %v at the end of its context, want nil", err)
			}
		}
		defer stop()
		test(source, reports, stop)
	})
}

// wanted returns what the kernel should hold for the source's snapshot.
func wanted(source *fakeSource) ruleset.Ruleset {
	rules, _ := plan.Plan(source.snapshot, config)
	return rules
}

func assertHolds(t *testing.T, k *fakeKernel, want ruleset.Ruleset) {
	t.Helper()
	for c, rules := range want {
		if !slices.Equal(k.rules[c], rules) {
			t.Errorf("kernel's chain %s has %d rules, want %d as planned", c, len(k.rules[c]), len(rules))
		}
	}
	for c := range k.rules {
		if _, planned := want[c]; !planned && ruleset.PerService(c.Name) {
			t.Errorf("kernel still has chain %s", c)
		}
	}
	for _, j := range ruleset.Jumps() {
		if !slices.Contains(k.rules[j.From], j.Rule) {
			t.Errorf("kernel lacks the jump from %s to %s", j.From, j.To)
		}
	}
}

func TestNothingIsWrittenBeforeTheStateIsComplete(t *testing.T) {
	k := &fakeKernel{}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.changed <- struct{}{}
		synctest.Wait()
		if k.saves+len(k.batches)+len(reports) != 0 {
			t.Errorf("%d reads, %d writes, %d reports; want none", k.saves, len(k.batches), len(reports))
		}
	})
}

func TestFirstSyncWritesEverythingAndLaterOnesTheDifference(t *testing.T) {
	k := &fakeKernel{}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		if r := <-reports; r.Err != nil || !r.Whole || r.Jumps != len(ruleset.Jumps()) {
			t.Errorf("first sync: error %v, read back %v, %d jumps; want none, true, all", r.Err, r.Whole, r.Jumps)
		}
		assertHolds(t, k, wanted(source))

		source.set(service("front", "10.96.0.1"), service("back", "10.96.0.2"))
		if r := <-reports; r.Err != nil || r.Whole || r.Written != 1 || r.Jumps != 0 {
			t.Errorf("second sync: error %v, read back %v, %d chains, %d jumps; want none, false, 1, 0", r.Err, r.Whole, r.Written, r.Jumps)
		}
		assertHolds(t, k, wanted(source))
	})
}

// One Service is gone that was refused, and one comes that is: the REJECT of the first goes when all else is written.
func TestVerdictsThatGoAreWrittenLast(t *testing.T) {
	before, after := service("front", "10.96.0.1"), service("back", "10.96.0.2")
	check := func(t *testing.T, k *fakeKernel, source *fakeSource) {
		assertHolds(t, k, wanted(source))
		refused := ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Services}
		if len(k.batches) != 3 {
			t.Fatalf("%d writes, want one at first, and two for the change", len(k.batches))
		}
		if both, last := k.batches[1].Write[refused], k.batches[2].Write[refused]; len(both) != 2 || len(last) != 1 {
			t.Errorf("%v refuses %d Services and then %d, want 2 and 1", refused, len(both), len(last))
		}
	}
	t.Run("in a step", func(t *testing.T) {
		k := &fakeKernel{}
		run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
			for _, s := range []*model.Service{before, after} {
				source.set(s)
				<-reports
			}
			check(t, k, source)
		})
	})
	t.Run("at a start", func(t *testing.T) {
		k := &fakeKernel{}
		for _, s := range []*model.Service{before, after} {
			run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
				source.set(s)
				<-reports
				if s == after {
					check(t, k, source)
				}
			})
		}
	})
}

func TestUnchangedStateIsNotWritten(t *testing.T) {
	k := &fakeKernel{}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		<-reports
		source.set(service("front", "10.96.0.1"))
		<-reports
		if k.saves != 1 || len(k.batches) != 1 {
			t.Errorf("%d reads and %d writes, want 1 and 1", k.saves, len(k.batches))
		}
	})
}

func TestRestartWithTheRightRulesInTheKernelWritesNothing(t *testing.T) {
	k := &fakeKernel{}
	start := func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		<-reports
	}
	run(t, k, start)
	run(t, k, start)
	if len(k.batches) != 1 {
		t.Errorf("%d writes after a restart, want only the first", len(k.batches))
	}
}

func TestRefusedWriteIsReadBackAndTriedAgainWithoutAnyChange(t *testing.T) {
	k := &fakeKernel{refuse: 3}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		changed := time.Now()
		source.set(service("front", "10.96.0.1"))
		var waited time.Duration
		for range 3 {
			r := <-reports
			if !errors.Is(r.Err, errRefused) || !r.Since.Equal(changed) {
				t.Errorf("report says error %v since %v, want the refusal since %v", r.Err, r.Since, changed)
			}
			if r.Retry <= waited/2 || r.Retry > 2*time.Second {
				t.Errorf("retry after %v, which followed %v; want it to grow, up to 2 s here", r.Retry, waited)
			}
			waited = r.Retry
		}
		r := <-reports
		if r.Err != nil || !r.Whole || !r.Since.Equal(changed) {
			t.Errorf("fourth attempt: error %v, read back %v, since %v; want none, true, %v", r.Err, r.Whole, r.Since, changed)
		}
		if k.saves != 4 {
			t.Errorf("%d reads, want one for each attempt", k.saves)
		}
		assertHolds(t, k, wanted(source))
	})
}

func TestVitalServicesOfALargeClusterAreServedFirst(t *testing.T) {
	k := &fakeKernel{}
	kubernetes, dns := service("kubernetes", "10.96.0.1"), service("kube-dns", "10.96.0.10")
	kubernetes.Name.Namespace, dns.Name.Namespace = "default", "kube-system"
	dns.Ports = []model.ServicePort{{PortKey: model.PortKey{Name: "dns", Proto: ipproto.UDP}, Port: 53}}
	all := []*model.Service{kubernetes, dns}
	for i := range 1000 {
		all = append(all, service(fmt.Sprintf("web-%d", i), fmt.Sprintf("10.97.%d.%d", i/250, i%250)))
	}
	start := func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(all...)
		<-reports
		assertHolds(t, k, wanted(source))
	}
	run(t, k, start)
	if len(k.batches) != 2 {
		t.Fatalf("%d writes, want two", len(k.batches))
	}
	first := k.batches[0]
	refused := first.Write[ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Services}]
	if len(refused) != 2 || len(first.Jumps) != len(ruleset.Jumps()) {
		t.Errorf("first write has %d rules in KUBE-SERVICES and %d jumps, want those of two Services and all jumps", len(refused), len(first.Jumps))
	}
	run(t, k, start)
	if len(k.batches) != 2 {
		t.Errorf("a restart writes again")
	}
}

func TestKernelThatCannotBeReadIsNotWritten(t *testing.T) {
	k := &fakeKernel{}
	k.unreadable.Store(true)
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		if r := <-reports; !errors.Is(r.Err, errUnreadable) || len(k.batches) != 0 {
			t.Errorf("error %v and %d writes, want the cause and none", r.Err, len(k.batches))
		}
	})
}

func TestWriteOfSomebodyElseIsRepairedWithinTwoSeconds(t *testing.T) {
	services := ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Services}
	output := ruleset.Chain{Table: ruleset.Nat, Name: "OUTPUT"}
	for _, test := range []struct {
		name string
		harm func(ruleset.Ruleset)
	}{
		{"everything is flushed", func(rs ruleset.Ruleset) { clear(rs) }},
		{"a chain is flushed", func(rs ruleset.Ruleset) { rs[services] = nil }},
		{"a jump is deleted", func(rs ruleset.Ruleset) { rs[output] = nil }},
		{"a rule is changed", func(rs ruleset.Ruleset) { rs[services] = []ruleset.Rule{{Jump: ruleset.Accept}} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := &fakeKernel{}
			run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
				source.set(service("front", "10.96.0.1"), service("back", "10.96.0.2"))
				<-reports
				synctest.Wait()
				start := time.Now()
				test.harm(k.rules)
				k.foreign.Add(1)
				if r := <-reports; !r.Foreign || r.Written+r.Jumps == 0 || time.Since(start) > 2*time.Second {
					t.Errorf("foreign %v, %d chains and %d jumps written after %v; want a repair within 2s", r.Foreign, r.Written, r.Jumps, time.Since(start))
				} else if len(r.Repaired) == 0 {
					t.Error("it is not said which chains were repaired")
				}
				assertHolds(t, k, wanted(source))
			})
		})
	}
}

// A jump that was moved behind a rule of somebody else, away from our others, is put back, once. Who comes to the front
// of all of ours stays there, as Weave Net's rules must, or NetworkPolicies would not hold.
func TestJumpThatWasMovedIsPutBackOnce(t *testing.T) {
	forward := ruleset.Chain{Table: ruleset.Filter, Name: "FORWARD"}
	theirs := ruleset.Rule{Comment: "theirs", Jump: "WEAVE-NPC"}
	k := &fakeKernel{rules: ruleset.Ruleset{forward: {theirs}}}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		<-reports
		synctest.Wait()
		ours := slices.Clone(k.rules[forward][:4])
		asWas := append(slices.Clone(ours), theirs)
		become := func(rules ...ruleset.Rule) Report {
			k.rules[forward] = rules
			k.foreign.Add(1)
			return <-reports
		}
		torn := []ruleset.Rule{ours[0], ours[1], ours[2], theirs, ours[3]}
		if r := become(torn...); r.Jumps != len(ours) || !slices.Equal(k.rules[forward], asWas) {
			t.Errorf("one was moved: %d jumps written, FORWARD is %v; want it back", r.Jumps, k.rules[forward])
		}
		if r := become(torn...); r.Jumps != 0 || !slices.Equal(k.rules[forward], torn) {
			t.Errorf("once more: %d jumps written, FORWARD is %v; want it left there", r.Jumps, k.rules[forward])
		}
		if r := become(append([]ruleset.Rule{theirs}, ours...)...); r.Jumps != 0 || k.rules[forward][0] != theirs {
			t.Errorf("theirs came to the front: %d jumps written, FORWARD is %v; want theirs in front", r.Jumps, k.rules[forward])
		}
		admin := ruleset.Rule{Comment: "new", Jump: ruleset.Drop}
		if r := become(append([]ruleset.Rule{admin, theirs}, ours...)...); r.Jumps != 0 || k.rules[forward][0] != admin {
			t.Errorf("a new rule: %d jumps written, FORWARD is %v; want it in front", r.Jumps, k.rules[forward])
		}
	})
}

// Weave Net puts all of its rules to the front when one of them is gone: none of ours comes among them.
func TestRulesThatComeToTheFrontStayTogether(t *testing.T) {
	forward := ruleset.Chain{Table: ruleset.Filter, Name: "FORWARD"}
	egress, ingress := ruleset.Rule{Jump: "WEAVE-NPC-EGRESS"}, ruleset.Rule{Jump: "WEAVE-NPC"}
	k := &fakeKernel{rules: ruleset.Ruleset{forward: {egress, ingress}}}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		<-reports
		synctest.Wait()
		ours := slices.Clone(k.rules[forward][:4])
		for _, rules := range [][]ruleset.Rule{
			append(slices.Clone(ours), ingress), // one is gone
			append([]ruleset.Rule{egress, ingress}, ours...),
		} {
			k.rules[forward] = rules
			k.foreign.Add(1)
			if r := <-reports; r.Jumps != 0 || !slices.Equal(k.rules[forward], rules) {
				t.Errorf("%d jumps written, FORWARD is %v; want %v", r.Jumps, k.rules[forward], rules)
			}
		}
	})
}

func TestWriteOfOurOwnThatFailedIsLookedAfterButNobodyElses(t *testing.T) {
	k := &fakeKernel{}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		<-reports
		saves := k.saves
		k.doubts.Add(1)
		if r := <-reports; r.Foreign || !r.Whole || k.saves != saves+1 {
			t.Errorf("foreign %v, whole %v, %d reads; want the kernel to be read back, without blaming others", r.Foreign, r.Whole, k.saves-saves)
		}
	})
}

func TestOthersWhoWriteAllTheTimeCostAShareOfTheTime(t *testing.T) {
	k := &fakeKernel{reading: 2 * time.Second} // a large table
	run(t, k, func(source *fakeSource, reports <-chan Report, stop func()) {
		source.set(service("front", "10.96.0.1"))
		<-reports
		for range 600 { // ten minutes
			k.foreign.Add(1)
			time.Sleep(time.Second)
		}
		stop()
		if most := 600/(2*(1+lookShare)) + 2; k.saves > most || k.saves < most/2 {
			t.Errorf("read back %d times in ten minutes, want about %d", k.saves, most)
		}
	})
}

func TestKernelThatNobodyElseWritesIsSeldomReadBack(t *testing.T) {
	k := &fakeKernel{}
	run(t, k, func(source *fakeSource, reports <-chan Report, stop func()) {
		source.set(service("front", "10.96.0.1"))
		<-reports
		time.Sleep(time.Hour)
		stop()
		if k.saves > 5 || len(k.batches) != 1 {
			t.Errorf("%d reads and %d writes in an hour, want at most one each quarter and the first", k.saves, len(k.batches))
		}
	})
}

func TestRuleOfTheKubeletStaysWhereThePlanHasNone(t *testing.T) {
	firewall := ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Firewall}
	kubelets := []ruleset.Rule{{Comment: "block incoming localnet connections", Dst: ipproto.IPv4.Loopback(), Jump: ruleset.Drop}}
	k := &fakeKernel{rules: ruleset.Ruleset{firewall: kubelets}}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set()
		<-reports
		if !slices.Equal(k.rules[firewall], kubelets) {
			t.Errorf("KUBE-FIREWALL has %v, want the kubelet's rule", k.rules[firewall])
		}
	})
}

func TestChangesInQuickSuccessionWaitForTheMinimumInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{}
		source := &fakeSource{changed: make(chan struct{}, 1)}
		reports := make(chan time.Time, 100)
		s := &Syncer{
			Family: ipproto.IPv4, Kernel: k, Source: source, MinInterval: time.Second, RetryInterval: time.Minute,
			Settings: func(n model.Node) (model.Node, plan.Config, error) { return n, config, nil },
			Report:   func(Report) { reports <- time.Now() },
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = s.Run(ctx) }()
		source.set()
		first := <-reports
		for range 10 {
			source.set()
			synctest.Wait()
		}
		if second := <-reports; second.Sub(first) != time.Second {
			t.Errorf("second sync %v after the first, want 1s", second.Sub(first))
		}
		synctest.Wait()
		if len(reports) > 1 {
			t.Errorf("%d more syncs at once, want changes to be taken together", len(reports))
		}
	})
}

func TestRepairThatIsRefusedIsTriedAgain(t *testing.T) {
	k := &fakeKernel{}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		<-reports
		synctest.Wait()
		clear(k.rules)
		k.refuse = 2
		k.foreign.Add(1)
		for attempt := range 2 {
			if r := <-reports; !errors.Is(r.Err, errRefused) || r.Retry > time.Second {
				t.Errorf("attempt %d: error %v, next after %v; want the refusal, and a second at most", attempt, r.Err, r.Retry)
			}
		}
		if r := <-reports; r.Err != nil || !r.IsRepair() {
			t.Errorf("third attempt: error %v, repair %v; want none, true", r.Err, r.IsRepair())
		}
		assertHolds(t, k, wanted(source))
	})
}

// Who cannot find out whether others wrote, because the lock of the tables is held say, does not know that they did.
func TestKernelThatCannotBeAskedIsNotTakenForDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{}
		source := &fakeSource{changed: make(chan struct{}, 1)}
		s := &Syncer{
			Family: ipproto.IPv4, Kernel: k, Source: source, RetryInterval: 30 * time.Second,
			Settings: func(n model.Node) (model.Node, plan.Config, error) { return n, config, nil },
			Foreign:  func(context.Context) (Others, error) { return Others{}, errUnreadable },
			Report: func(r Report) {
				if r.Foreign || r.Err != nil {
					t.Errorf("foreign %v, error %v; want false, none", r.Foreign, r.Err)
				}
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		source.set(service("front", "10.96.0.1"))
		time.Sleep(10 * time.Minute)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if most := int(10*time.Minute/blindLook) + 1; k.saves > most || len(k.batches) != 1 {
			t.Errorf("%d reads and %d writes in ten minutes, want at most %d and the first", k.saves, len(k.batches), most)
		}
	})
}
