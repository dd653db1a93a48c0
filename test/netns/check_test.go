package netns

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"espalier/proxier/trace"
	"espalier/test/netns/lab"
)

const (
	// patience is for what must come. It ends only when the test fails, so it may be long.
	patience = 20 * time.Second
	// quiet is for what must not come. Every other outcome arrives within a millisecond.
	quiet = 400 * time.Millisecond
	// leastTries is how often a packet must meet the wanted outcome, to find one that is sometimes another.
	leastTries = 20
	// missed is the probability that a correct choice among endpoints leaves one out in all tries.
	missed = 1e-10
)

// run sends the packets of the row.
func (s *session) run(t *testing.T, r row) {
	t.Helper()
	if r.check != nil {
		r.check(t, s)
		return
	}
	s.predict(t, r)
	if r.want.kind == kindDrop {
		s.expect(t, r, quiet)
		return
	}
	seen, tries := map[netip.AddrPort]bool{}, triesFor(len(r.want.endpoints))
	for try := 1; try <= leastTries || len(seen) < len(r.want.endpoints); try++ {
		if try > tries {
			t.Fatalf("%s: only %v of %s in %d tries\n%s", r.probe(), seen, r.want, tries, s.explain(t, r))
		}
		if o := s.expect(t, r, patience); r.want.kind == toEndpoints {
			seen[o.Answer.At] = true
		}
	}
}

// triesFor is how many packets it takes until each of n endpoints got one, but for the probability missed.
func triesFor(n int) int {
	if n < 2 {
		return leastTries
	}
	return max(leastTries, int(math.Ceil(math.Log(missed/float64(n))/math.Log(1-1/float64(n)))))
}

// expect makes one attempt and ends the test unless it meets the wanted outcome.
func (s *session) expect(t *testing.T, r row, wait time.Duration) lab.Observation {
	t.Helper()
	o, err := s.Try(r.probe(), wait)
	if err != nil {
		t.Fatalf("%v: want %s\n%s", err, r.want, s.explain(t, r))
	}
	if wrong := s.differs(t, r, o); wrong != "" {
		t.Fatalf("%s: %s: want %s%s\n%s", r.probe(), o, r.want, wrong, s.explain(t, r))
	}
	return o
}

// differs says why an observation is not the wanted one, or nothing.
func (s *session) differs(t *testing.T, r row, o lab.Observation) string {
	t.Helper()
	const yes = " " // nothing to add
	switch r.want.kind {
	case kindReject:
		if o.Verdict != lab.Refused {
			return yes
		}
		return ""
	case kindDrop:
		if o.Verdict != lab.Silent {
			return yes
		}
		return ""
	}
	if o.Verdict != lab.Answered {
		return yes
	}
	plain := o.Answer.Peer.Addr() == r.from.addr
	if r.want.kind == kindUntouched {
		if o.Answer.At != r.to.addr || !plain {
			return yes
		}
		return ""
	}
	there := o.Answer.By == lab.Endpoints || o.Answer.By == lab.Node && s.owned(t, o.Answer.At.Addr())
	switch {
	case !there || !slices.Contains(r.want.endpoints, o.Answer.At):
		return yes
	case plain == r.want.masq:
		return ": masquerading is wrong"
	case !plain && !s.owned(t, o.Answer.Peer.Addr()):
		return ": the source is neither the client nor the node"
	}
	return ""
}

// predict compares what package trace says with the table: what explain tells a user must be what packets do.
func (s *session) predict(t *testing.T, r row) {
	t.Helper()
	var got []string
	for _, o := range s.trace(t, r).Outcomes {
		switch o.Verdict {
		case trace.None, trace.Accept:
			got = append(got, outcome{kind: kindUntouched}.String())
		case trace.Reject:
			got = append(got, reject.String())
		case trace.Drop:
			got = append(got, drop.String())
		case trace.DNAT:
			got = append(got, outcome{endpoints: []netip.AddrPort{o.To}, masq: o.Masquerade}.String())
		}
	}
	want := []string{r.want.String()}
	if r.want.kind == toEndpoints {
		want = nil
		for _, e := range r.want.endpoints {
			want = append(want, outcome{endpoints: []netip.AddrPort{e}, masq: r.want.masq}.String())
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: trace says %q, want %q\n%s", r.probe(), got, want, s.explain(t, r))
	}
}

// explain prints the rules that package trace thinks the packet meets, for the first few outcomes.
func (s *session) explain(t *testing.T, r row) string {
	t.Helper()
	var b strings.Builder
	for i, o := range s.trace(t, r).Outcomes {
		fmt.Fprintf(&b, "by the rules: %s\n", o)
		if i < 3 {
			b.WriteString(o.Paths[0].Text(s.Family))
		}
	}
	return b.String()
}
