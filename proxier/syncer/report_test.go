package syncer

import (
	"net/netip"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// rulesOf counts the rules of a plan.
func rulesOf(rules ruleset.Ruleset) (c Counts) {
	for chain, list := range rules {
		if chain.Table == ruleset.Nat {
			c.Nat += len(list)
		} else {
			c.Filter += len(list)
		}
	}
	return c
}

func TestReportSaysHowMuchWasPlannedAndWritten(t *testing.T) {
	k := &fakeKernel{}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.change(nil, back(service("front", "10.96.0.1"), "10.244.0.1:80", "10.244.0.2:80"))
		r := <-reports
		if all := rulesOf(wanted(source)); r.Rules != all || r.Payload != all {
			t.Errorf("first sync: %+v planned and %+v written, want %+v both", r.Rules, r.Payload, all)
		}
		if r.Input.Commits != 2 || r.Input.Bytes < 1000 {
			t.Errorf("first sync: input %+v, want a COMMIT for each table", r.Input)
		}

		source.change(nil, back(service("front", "10.96.0.1"), "10.244.0.1:80", "10.244.0.3:80"))
		r = <-reports
		if all := rulesOf(wanted(source)); r.Rules != all || r.Payload != (Counts{Nat: 2}) || r.Input.Commits != 1 {
			t.Errorf("second sync: %+v planned, %+v written with %+v; want %+v, the 2 rules of the chain, 1 COMMIT", r.Rules, r.Payload, r.Input, all)
		}
		if r.Whole || r.StepFailed || r.Refusals != 0 {
			t.Errorf("second sync: whole %v, step failed %v, %d refusals; want a step that worked", r.Whole, r.StepFailed, r.Refusals)
		}
		source.set(service("front", "10.96.0.1"))
		before := (<-reports).Rules
		source.set(service("front", "10.96.0.1"))
		if r = <-reports; r.Rules != before || r.Payload != (Counts{}) || r.Input.Commits != 0 {
			t.Errorf("without a change: %+v planned, %+v written with %+v; want %+v and nothing", r.Rules, r.Payload, r.Input, before)
		}
	})
}

func TestReportOfARefusalSaysWhatFailed(t *testing.T) {
	k := &fakeKernel{}
	run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
		source.set(service("front", "10.96.0.1"))
		<-reports
		k.refuse = 1
		source.set(service("front", "10.96.0.2"))
		if r := <-reports; r.Err == nil || r.Whole || !r.StepFailed || r.Refusals != 1 || r.Took < r.Writing {
			t.Errorf("refused step: %+v", r)
		}
		if r := <-reports; r.Err != nil || !r.Whole || r.StepFailed || r.Refusals != 0 {
			t.Errorf("the whole sync after it: %+v", r)
		}

		// Found and left out in one sync: that one succeeds, but a write failed.
		k.poison = poison
		source.change(nil, back(service("front", "10.96.0.2"), poison.String()))
		if r := <-reports; r.Err != nil || !r.Whole || !r.StepFailed || r.Refusals == 0 || len(r.Quarantined) != 1 {
			t.Errorf("quarantine: %+v", r)
		}
	})
}

// TestTheFirstReportSaysWhatTheKernelDid: the rules that a process finds say what its predecessor served, also if the
// first sync fails.
func TestTheFirstReportSaysWhatTheKernelDid(t *testing.T) {
	nat := func(name string) ruleset.Chain { return ruleset.Chain{Table: ruleset.Nat, Name: name} }
	to := netip.MustParseAddrPort("10.244.0.9:53")
	for _, refused := range []int{0, 1} {
		k := &fakeKernel{refuse: refused, rules: ruleset.Ruleset{nat(ruleset.Services): {{
			Dst: netip.MustParsePrefix("10.96.0.9/32"), Proto: ipproto.UDP, DstPorts: ruleset.Port(53), Jump: ruleset.DNAT, To: to,
		}}}}
		run(t, k, func(source *fakeSource, reports <-chan Report, _ func()) {
			source.set(service("front", "10.96.0.1"))
			first := <-reports
			if ends := first.Found[netip.MustParseAddrPort("10.96.0.9:53")]; (first.Err != nil) != (refused > 0) || len(ends) != 1 || ends[0] != to {
				t.Errorf("%d refusals: first report has error %v and %v, want what stood there", refused, first.Err, first.Found)
			}
			k.foreign.Add(1)
			if later := <-reports; later.Found != nil || !later.Whole {
				t.Errorf("%d refusals: a later whole sync found %v, want nothing", refused, later.Found)
			}
		})
	}
}
