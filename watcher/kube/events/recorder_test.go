package events

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"espalier/watcher/kube/kubetest"
)

// line is a client's way to an API server that needs no network, so that it works in the fake time of a bubble.
type line struct {
	server *kubetest.Server
	dead   atomic.Bool
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.dead.Load() {
		return nil, syscall.ECONNREFUSED
	}
	w := httptest.NewRecorder()
	l.server.ServeHTTP(w, r)
	return w.Result(), nil
}

// rig is a Recorder at work, and the API server that it works for.
type rig struct {
	*Recorder
	t    *testing.T
	line *line
	log  []string
	stop func() // ends Run and waits for it
}

// record plays a test in a bubble of fake time.
func record(t *testing.T, play func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, line: &line{server: kubetest.New()}}
		var err error
		r.Recorder, err = New(&rest.Config{Host: "http://api", Transport: r.line, QPS: -1}, "host-1")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), funcr.New(func(_, args string) { r.log = append(r.log, args) }, funcr.Options{})))
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		r.stop = func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
			ended <- nil
		}
		defer r.stop()
		play(r)
	})
}

// wait lets time pass, and waits until all that it brings is done.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want compares the events at the server, without names and times: "Warning shop/web Listen FailedToStart: note (3 times)".
func (r *rig) want(what string, want ...string) {
	r.t.Helper()
	synctest.Wait()
	var got []string
	for _, e := range r.line.server.Events() {
		of := e.Regarding.Namespace + "/" + e.Regarding.Name
		text := fmt.Sprintf("%s %s %s %s: %s", e.Type, of, e.Action, e.Reason, e.Note)
		if e.Series != nil {
			text += fmt.Sprintf(" (%d times)", e.Series.Count)
		}
		got = append(got, text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("%s: events (-want +got):\n%s", what, diff)
	}
}

func (r *rig) requests() (list []string) {
	for _, q := range r.line.server.Requests() {
		list = append(list, q.String())
	}
	return list
}

var (
	busy    = Event{Regarding: Service("shop", "web"), Warning: true, Reason: "FailedToStartServiceHealthcheck", Action: "Listen", Note: "port taken"}
	started = Event{Regarding: Node("node-1"), Reason: "Starting", Action: "StartKubeProxy"}
)

const busyLine = "Warning shop/web Listen FailedToStartServiceHealthcheck: port taken"

func TestEventAsTheAPISeesIt(t *testing.T) {
	record(t, func(r *rig) {
		at := time.Now()
		r.Emit(started)
		time.Sleep(time.Second)
		r.Emit(busy)
		synctest.Wait()
		got := r.line.server.Events()
		if len(got) != 2 {
			t.Fatalf("%d events, want 2", len(got))
		}
		name := fmt.Sprintf("node-1.%x", at.UnixNano())
		if e := got[0]; e.Namespace != "default" || e.Name != name || !e.EventTime.Equal(&metav1.MicroTime{Time: at}) {
			t.Errorf("event %s/%s of %v, want default/%s of %v", e.Namespace, e.Name, e.EventTime, name, at)
		}
		if e := got[1]; e.Namespace != "shop" || e.Name != fmt.Sprintf("web.%x", at.Add(time.Second).UnixNano()) {
			t.Errorf("event %s/%s, want shop/web.TIME", e.Namespace, e.Name)
		}
		type who struct{ Controller, Instance, APIVersion, Kind, Namespace, Name, UID string }
		for i, want := range []who{
			{"kube-proxy", "kube-proxy-host-1", "v1", "Node", "", "node-1", ""},
			{"kube-proxy", "kube-proxy-host-1", "v1", "Service", "shop", "web", ""},
		} {
			e, o := got[i], got[i].Regarding
			if diff := cmp.Diff(want, who{e.ReportingController, e.ReportingInstance, o.APIVersion, o.Kind, o.Namespace, o.Name, string(o.UID)}); diff != "" {
				t.Errorf("event %d (-want +got):\n%s", i, diff)
			}
		}
		r.want("both", "Normal /node-1 StartKubeProxy Starting: ", busyLine)
	})
}

// Whatever somebody can bring into an event, the API server accepts it, and the next ones arrive.
func TestEventWithAnythingInIt(t *testing.T) {
	for _, test := range []struct {
		name  string
		event Event
		want  string
	}{
		{"a note is no format", note("100% %s %d %!"), "Warning shop/web a r: 100% %s %d %!"},
		{"a long note is cut", note(strings.Repeat("ä", 600)), "Warning shop/web a r: " + strings.Repeat("ä", 510) + "…"},
		{"bytes that are no text", note("a\xff\xfeb\x00c\x1b[31m\td\ne"), "Warning shop/web a r: a  b c [31m d\ne"},
		{"a node name that is no name", Event{Regarding: Node("Node_1 %s"), Reason: "r", Action: "a"}, "Normal /Node_1 %s a r: "},
		{"a node name that is too long", Event{Regarding: Node(strings.Repeat("n", 250)), Reason: "r", Action: "a"}, "Normal /" + strings.Repeat("n", 250) + " a r: "},
		{"a namespace that cannot be", Event{Regarding: Service("../kube-system", "web"), Reason: "r", Action: "a"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			record(t, func(r *rig) {
				r.Emit(test.event)
				r.Emit(started)
				want := []string{test.want, "Normal /node-1 StartKubeProxy Starting: "}
				r.want("after a second", slices.DeleteFunc(want, func(s string) bool { return s == "" })...)
				if len(r.log) > 0 {
					t.Errorf("log: %q", r.log)
				}
			})
		})
	}
}

func note(text string) Event {
	return Event{Regarding: Service("shop", "web"), Warning: true, Reason: "r", Action: "a", Note: text}
}

func TestRepeatsBecomeASeries(t *testing.T) {
	record(t, func(r *rig) {
		r.Emit(busy)
		r.want("once", busyLine)
		wait(time.Minute)
		again := busy
		again.Note = "port still taken"
		r.Emit(again)
		r.want("the first repeat is told at once", busyLine+" (2 times)")
		for range 10 {
			wait(time.Minute)
			r.Emit(busy)
		}
		r.want("others later", busyLine+" (2 times)")
		wait(quiet + time.Minute)
		r.want("when it is over, all are counted", busyLine+" (12 times)")
		r.Emit(busy)
		r.want("what comes after that is another one", busyLine+" (12 times)", busyLine)
		if diff := cmp.Diff([]string{"create events", "patch events", "patch events", "create events"}, r.requests()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestSeriesThatGoesOnIsToldNowAndThen(t *testing.T) {
	record(t, func(r *rig) {
		for range 3 * 60 { // for three hours
			r.Emit(busy)
			wait(time.Minute)
		}
		if n := len(r.requests()); n < 5 || n > 10 {
			t.Errorf("%d requests in three hours: %q, want one each half an hour", n, r.requests())
		}
		r.line.server.ForgetEvents() // the real server does after an hour
		r.Emit(busy)
		wait(heartbeat + quiet)
		r.want("a series that the server has forgotten begins anew", "Warning shop/web Listen FailedToStartServiceHealthcheck: ")
	})
}

func TestDifferentEventsAreNoSeries(t *testing.T) {
	record(t, func(r *rig) {
		other, action := busy, busy
		other.Regarding.Name, action.Action = "db", "Try"
		for _, e := range []Event{busy, other, action} {
			r.Emit(e)
		}
		r.want("three", busyLine, strings.Replace(busyLine, "web", "db", 1), strings.Replace(busyLine, "Listen", "Try", 1))
	})
}

// A cluster in which everything is wrong does not fill the memory: some repeats are then events of their own.
func TestSeriesAreLimited(t *testing.T) {
	record(t, func(r *rig) {
		for range 2 {
			for i := range maxSeries + 10 {
				r.Emit(Event{Regarding: Service("shop", fmt.Sprint(i)), Reason: "r", Action: "a"})
				synctest.Wait()
			}
		}
		if n := len(r.line.server.Events()); n != maxSeries+2*10 {
			t.Errorf("%d events, want %d", n, maxSeries+2*10)
		}
	})
}

func TestEventsWaitForAServerThatIsAway(t *testing.T) {
	record(t, func(r *rig) {
		r.line.dead.Store(true)
		r.Emit(busy)
		r.Emit(started)
		wait(90 * time.Second)
		r.line.dead.Store(false)
		wait(retryEvery)
		r.want("back after one and a half minutes", busyLine, "Normal /node-1 StartKubeProxy Starting: ")
		if len(r.log) > 0 {
			t.Errorf("log: %q, want nothing, as nothing is lost", r.log)
		}
	})
}

func TestEventsAreGivenUp(t *testing.T) {
	for _, test := range []struct {
		name     string
		fail     func(l *line)
		requests int // for two events
		after    time.Duration
		log      string
	}{
		{"a server that is away for long", func(l *line) { l.dead.Store(true) }, 0, 2 * tries * retryEvery, "connection refused"},
		{"a server that is ill for long", func(l *line) {
			l.server.Behave(kubetest.Behaviour{Refuse: func(kubetest.Request) *metav1.Status {
				return kubetest.Refusal(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "on holiday")
			}})
		}, 2 * tries, 2 * tries * retryEvery, "on holiday"},
		{"no permission, at once", func(l *line) { l.server.Behave(kubetest.Behaviour{Refuse: kubetest.Forbid("", "events")}) }, 2, time.Second,
			"RBAC permission for the verbs create and patch on the resource events of the API group events.k8s.io"},
	} {
		t.Run(test.name, func(t *testing.T) {
			record(t, func(r *rig) {
				test.fail(r.line)
				r.Emit(busy)
				r.Emit(busy)
				wait(test.after)
				if n := len(r.requests()); n != test.requests {
					t.Errorf("%d requests, want %d", n, test.requests)
				}
				if len(r.log) != 1 || !strings.Contains(r.log[0], test.log) {
					t.Errorf("log %q, want one line with %q", r.log, test.log)
				}
				r.line.dead.Store(false)
				r.line.server.Behave(kubetest.Behaviour{})
				r.Emit(busy)
				r.want("later ones arrive", busyLine)
			})
		})
	}
}

func TestQueueIsLimited(t *testing.T) {
	record(t, func(r *rig) {
		r.line.dead.Store(true)
		r.Emit(started)
		synctest.Wait() // it is being sent
		for i := range queueSize + 5 {
			r.Emit(Event{Regarding: Service("shop", fmt.Sprint("web-", i)), Reason: "r", Action: "a"})
		}
		r.line.dead.Store(false)
		wait(retryEvery)
		if n := len(r.line.server.Events()); n != 1+queueSize {
			t.Errorf("%d events arrive, want %d", n, 1+queueSize)
		}
		if len(r.log) != 1 || !strings.Contains(r.log[0], "dropped") || !strings.Contains(r.log[0], `"events"=5`) {
			t.Errorf("log %q, want a line about 5 dropped ones", r.log)
		}
	})
}

// What is queued when the process has to end is sent, but the end is not held up.
func TestLastWords(t *testing.T) {
	record(t, func(r *rig) {
		r.line.dead.Store(true)
		r.Emit(started)
		wait(time.Millisecond) // it waits for its second try
		want := []string{"Normal /node-1 StartKubeProxy Starting: "}
		for i := range 20 {
			r.Emit(Event{Regarding: Service("shop", fmt.Sprint(i)), Reason: "r", Action: "a"})
			want = append(want, fmt.Sprintf("Normal shop/%d a r: ", i))
		}
		r.line.dead.Store(false)
		r.stop()
		r.want("at the end", want...)
	})
	record(t, func(r *rig) {
		r.line.dead.Store(true)
		for range 100 {
			r.Emit(started)
		}
		before := time.Now()
		r.stop()
		if took := time.Since(before); took > lastWords {
			t.Errorf("the end took %v without a server, want at most %v", took, lastWords)
		}
	})
}

// silent is a server that takes requests and never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestLastWordsToAServerThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := New(&rest.Config{Host: "http://api", Transport: silent{}, QPS: -1}, "host-1")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		for range 100 {
			r.Emit(started)
		}
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		before := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(before); took != lastWords {
			t.Errorf("the end took %v, want %v", took, lastWords)
		}
	})
}

func TestNobodyToTell(t *testing.T) {
	var r *Recorder
	r.Emit(busy)
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := New(&rest.Config{Host: "http://bad host"}, "host-1"); err == nil || !strings.Contains(err.Error(), `API server "http://bad host"`) {
		t.Errorf("New: %v, want an error about the URL", err)
	}
}
