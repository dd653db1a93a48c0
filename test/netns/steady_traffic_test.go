package netns

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"espalier/test/netns/lab"
)

// stream is a client that connects without pause.
type stream struct {
	row
	// own are the endpoints of the Service, of which none may answer unless the row wants it.
	own []netip.AddrPort
	// fits replaces the list of wanted endpoints where that changes: at is who answered a connection that was begun
	// at the given time.
	fits func(at netip.AddrPort, begun time.Time) bool
}

// mercy says what is forgiven besides what is wanted.
type mercy int32

const (
	nothing   mercy = iota
	notYet          // that a Service is not translated: nobody has programmed it
	whileHurt       // all that a damaged rule set does, but for an answer by an endpoint of another Service
)

// traffic is clients that connect without pause until they are stopped.
type traffic struct {
	site    *site
	own     []netip.Addr // of the node
	mercy   atomic.Int32
	done    chan struct{}
	clients sync.WaitGroup

	mu    sync.Mutex
	made  map[string]int         // connections, by stream
	wrong map[string][]time.Time // what they met, and when
	slow  time.Duration          // the slowest connection
	who   string                 // made it
	// before has the clients that were answered untranslated when that was forgiven. The kernel may still know
	// such a connection when its source port is used again, and then does not ask the rules.
	before map[flow]bool
	again  int
}

type flow struct{ from, to netip.AddrPort }

// connect starts the clients. The test fails if they have met anything wrong when it stops them.
func (s *site) connect(t *testing.T, forgiven mercy, streams []stream) *traffic {
	t.Helper()
	own, err := s.NodeAddresses()
	if err != nil {
		t.Fatal(err)
	}
	tr := &traffic{site: s, own: own, done: make(chan struct{}), made: map[string]int{}, wrong: map[string][]time.Time{}, before: map[flow]bool{}}
	tr.mercy.Store(int32(forgiven))
	for _, st := range streams {
		tr.clients.Go(func() { tr.run(st) })
	}
	return tr
}

func (tr *traffic) run(st stream) {
	pace := time.NewTicker(cmp.Or(tr.site.pace, time.Millisecond)) // leaves the processors to others too
	defer pace.Stop()
	for {
		select {
		case <-tr.done:
			return
		case <-pace.C:
		}
		before := mercy(tr.mercy.Load())
		wait := patience
		switch {
		case st.want.kind == kindDrop:
			wait = quiet
		case before != nothing:
			wait = 2 * time.Second // what was half done in a damaged rule set may hang for ever
		}
		begun := time.Now()
		o, err := tr.site.Try(st.probe(), wait)
		took := time.Since(begun)
		forgiven := max(before, mercy(tr.mercy.Load())) // things may get better or worse on the way
		tr.note(st, o, err, begun, took, forgiven)
	}
}

func (tr *traffic) note(st stream, o lab.Observation, err error, begun time.Time, took time.Duration, forgiven mercy) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.made[st.id]++
	if st.want.kind != kindDrop && took > tr.slow {
		tr.slow, tr.who = took, st.id
	}
	untranslated := o.Verdict == lab.Answered && o.Answer.At == st.to.addr
	this := flow{o.Answer.Peer, o.Answer.At}
	switch {
	case untranslated && forgiven != nothing:
		tr.before[this] = true
	case untranslated && tr.before[this]:
		tr.again++
		return
	}
	if err != nil {
		tr.regret(begun, "%s: %v", st.id, err)
	} else if why := tr.judge(st, o, begun, forgiven); why != "" {
		tr.regret(begun, "%s: %s: %s: %s", st.id, st.probe(), told(o), why)
	}
}

// regret notes what was wrong.
func (tr *traffic) regret(begun time.Time, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	tr.wrong[what] = append(tr.wrong[what], begun)
}

// told describes an observation without the port of the client, so that equal ones can be counted.
func told(o lab.Observation) string {
	if o.Verdict != lab.Answered {
		return o.String()
	}
	return fmt.Sprintf("answered by %s at %s, which saw %s", o.Answer.By, o.Answer.At, o.Answer.Peer.Addr())
}

// judge says what is wrong with what a client met, or nothing.
func (tr *traffic) judge(st stream, o lab.Observation, begun time.Time, forgiven mercy) string {
	a := o.Answer
	served := o.Verdict == lab.Answered && a.By == lab.Endpoints
	plain := a.Peer.Addr() == st.from.addr
	mine := slices.Contains(st.own, a.At)
	if st.fits != nil {
		mine = st.fits(a.At, begun)
	}
	switch {
	case served && !mine:
		return "that endpoint does not belong to the Service"
	case forgiven == whileHurt:
		return ""
	case served && st.want.kind != toEndpoints:
		return "should not be served"
	case served && plain == st.want.masq:
		return "masquerading is wrong"
	case served:
		return ""
	}
	untouched := o.Verdict == lab.Silent || o.Verdict == lab.Reset || o.Verdict == lab.Answered && a.At == st.to.addr && plain
	switch {
	case forgiven == notYet && untouched:
		return ""
	case st.want.kind == kindReject && o.Verdict == lab.Refused, st.want.kind == kindDrop && o.Verdict == lab.Silent:
		return ""
	}
	return "want " + st.want.String()
}

// forgive changes what is forgiven from now on.
func (tr *traffic) forgive(m mercy) { tr.mercy.Store(int32(m)) }

// some waits until every client has made some more connections.
func (tr *traffic) some(t *testing.T, streams []stream) {
	t.Helper()
	more := func(st stream) int {
		if st.want.kind == kindDrop {
			return 1
		}
		return cmp.Or(tr.site.few, 20)
	}
	tr.mu.Lock()
	start := map[string]int{}
	for id, n := range tr.made {
		start[id] = n
	}
	tr.mu.Unlock()
	tr.site.eventually(t, patience, func() string {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for _, st := range streams {
			if tr.made[st.id] < start[st.id]+more(st) {
				return "few connections of: " + st.id
			}
		}
		return ""
	})
}

// stop ends the clients and reports what was wrong.
func (tr *traffic) stop(t *testing.T) {
	t.Helper()
	close(tr.done)
	tr.clients.Wait()
	total := 0
	for _, n := range tr.made {
		total += n
	}
	t.Logf("%d connections, %d of them met one of before; the slowest took %v: %s", total, tr.again, tr.slow.Round(time.Millisecond), tr.who)
	const clock = "15:04:05.000"
	for what, when := range tr.wrong {
		t.Errorf("%d times wrong, from %s to %s: %s", len(when), when[0].Format(clock), when[len(when)-1].Format(clock), what)
	}
}

// basics are Services of each kind that is told apart, and clients of them.
func basics() (map[string]cluster, []stream) {
	one, three, hundred, local := endpointsFrom(1, 1), endpointsFrom(3, 3), endpointsFrom(100, 100), endpointsFrom(9, 2)
	p80 := target("p80", 80)
	files := map[string]cluster{
		"one":     {service("ns1/one", "172.30.0.41", tcpPort("p80", 80, 0)), slice("ns1/one", p80, one...)},
		"hundred": {service("ns1/hundred", "172.30.0.44", tcpPort("p80", 80, 0)), slice("ns1/hundred", p80, hundred...)},
		"three": {
			service("ns1/three", "172.30.0.43", loadBalancer("1.2.3.4"), sourceRanges("203.0.113.0/25"), tcpPort("p80", 80, 3001)),
			slice("ns1/three", p80, three...),
		},
		"none": {service("ns1/none", "172.30.0.46", tcpPort("p80", 80, 0))},
		"local": {
			service("ns1/local", "172.30.0.49", loadBalancer("192.168.99.22"), externally("Local"), healthCheck(30002), tcpPort("p80", 80, 3002)),
			slice("ns1/local", p80, local[0]+" node2", local[1]+" node2"),
		},
	}
	to := func(id string, c client, addr string, own []string, want outcome) stream {
		if want.kind == toEndpoints {
			want.endpoints = on80(own)
		}
		return stream{row: row{id: id, from: c, to: tcp(addr), want: want}, own: on80(own)}
	}
	return files, []stream{
		to("one endpoint answers", pod, "172.30.0.41:80", one, outcome{}),
		to("three endpoints answer", pod, "172.30.0.43:80", three, outcome{}),
		to("three endpoints answer the node, masqueraded", node, "172.30.0.43:80", three, outcome{masq: true}),
		to("a hundred endpoints answer", pod, "172.30.0.44:80", hundred, outcome{}),
		to("a node port answers, masqueraded", external, "192.168.0.2:3001", three, outcome{masq: true}),
		to("a VIP answers those in its ranges", external, "1.2.3.4:80", three, outcome{masq: true}),
		to("a VIP is silent to others", blocked, "1.2.3.4:80", three, drop),
		to("without endpoints it is refused", pod, "172.30.0.46:80", nil, reject),
		to("a VIP without local endpoints is silent", external, "192.168.99.22:80", local, drop),
	}
}

func (s *site) putAll(t *testing.T, files map[string]cluster) {
	t.Helper()
	for name, c := range files {
		s.put(t, name, c)
	}
}
