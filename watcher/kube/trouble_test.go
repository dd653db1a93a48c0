package kube

import (
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"espalier/proxier/model"
	"espalier/watcher/kube/kubetest"
)

// withAPI adds the Service shop/api to shop, and withDB takes shop/db away.
var (
	withAPI   = append([]string{shopLines[0], "shop/api 10.96.0.4:80"}, shopLines[1:]...)
	withoutDB = []string{shopLines[0], shopLines[2], shopLines[3], shopLines[4]}
)

// served returns a rig whose Tracker has the shop and one event more of each kind, so that the watches have proven to
// work: one that ends within a second without any event counts as failed.
func served(t *testing.T, b kubetest.Behaviour) *rig {
	r := newRig(t)
	r.server.Behave(b)
	shop(r.server)
	r.run(hurry())
	r.wantCluster(shopLines...)
	r.server.Apply(service("api", "10.96.0.4"))
	r.wantCluster(withAPI...)
	return r
}

// since returns the requests for Services after the first n of all.
func (r *rig) since(n int) (list []string) {
	for _, q := range r.server.Requests()[n:] {
		if q.Resource == "services" {
			list = append(list, q.String())
		}
	}
	return list
}

// A server that has too much to do is asked again later, and from where we were: to list again would make it worse.
func TestRunTooManyRequests(t *testing.T) {
	for name, retryAfter := range map[string]int32{"without advice": 0, "with Retry-After": 1} {
		t.Run(name, func(t *testing.T) {
			r := served(t, kubetest.Behaviour{})
			before := len(r.server.Requests())
			busy := kubetest.Refusal(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests")
			busy.Details = &metav1.StatusDetails{RetryAfterSeconds: retryAfter}
			r.server.Behave(kubetest.Behaviour{Refuse: func(q kubetest.Request) *metav1.Status {
				if q.Resource == "services" {
					return busy
				}
				return nil
			}})
			r.server.Cut()
			r.server.Delete(service("db", "10.96.0.2"))
			r.wantRequests(before+2, func(kubetest.Request) bool { return true })
			r.wantRequests(4, ofResource("services")) // one at the start, three since
			r.wantCluster(withAPI...)
			r.server.Behave(kubetest.Behaviour{})
			r.wantCluster(append([]string{shopLines[0], "shop/api 10.96.0.4:80"}, withoutDB[1:]...)...)
			for _, q := range r.since(before) {
				if q != "watch services from 11" {
					t.Errorf("request %q, want only attempts to go on", q)
				}
			}
		})
	}
}

// The server ends each watch after some minutes. That is no news, and costs one request.
func TestRunWatchesEnd(t *testing.T) {
	r := served(t, kubetest.Behaviour{})
	before := len(r.server.Requests())
	r.server.End()
	r.wantRequests(before+1, func(kubetest.Request) bool { return true })
	r.server.Delete(service("api", "10.96.0.4"))
	r.wantCluster(shopLines...)
	if diff := cmp.Diff([]string{"watch services from 11"}, r.since(before)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.logged("services") > 0 {
		t.Errorf("log: %q", r.log)
	}
}

// pausing stops answers about Services in the middle of the objects until release is called.
func pausing(b kubetest.Behaviour) (paused kubetest.Behaviour, release func()) {
	until := make(chan struct{})
	b.Pause = func(q kubetest.Request) <-chan struct{} {
		if q.Resource == "services" {
			return until
		}
		return nil
	}
	return b, sync.OnceFunc(func() { close(until) })
}

// As long as not everything is there, nothing is: neither of a slow answer, nor of one that breaks in the middle.
func TestRunSlowStart(t *testing.T) {
	for name, b := range map[string]kubetest.Behaviour{"by stream": {}, "by list": {NoStreams: true}} {
		for _, breaks := range []bool{false, true} {
			t.Run(name+map[bool]string{false: "", true: ", which breaks"}[breaks], func(t *testing.T) {
				r := newRig(t)
				slow, release := pausing(b)
				r.server.Behave(slow)
				shop(r.server)
				r.run(hurry())
				defer release()
				r.wantRequests(1, func(q kubetest.Request) bool {
					return q.Resource == "services" && (q.Verb == "list" || !b.NoStreams)
				})
				r.wantRequests(1, ofResource("endpointslices"))
				r.wantRequests(1, ofResource("nodes"))
				r.wantCluster("not synced", "not synced")
				if breaks {
					asked := len(r.server.Requests())
					r.server.Cut()
					r.wantRequests(asked+1, func(kubetest.Request) bool { return true })
					r.wantCluster("not synced", "not synced")
				}
				release()
				r.wantCluster(shopLines...)
			})
		}
	}
}

// What is known stays in force until a new list is complete, however often it breaks.
func TestRunSlowAgain(t *testing.T) {
	for name, b := range map[string]kubetest.Behaviour{"by stream": {}, "by list": {NoStreams: true}} {
		t.Run(name, func(t *testing.T) {
			r := served(t, b)
			slow, release := pausing(b)
			defer release()
			r.server.Behave(slow)
			r.server.Delete(service("api", "10.96.0.4"))
			r.wantCluster(shopLines...)
			relists := func(q kubetest.Request) bool {
				return q.Resource == "services" && (q.Verb == "list" || strings.Contains(q.String(), "stream"))
			}
			before := 0
			for _, q := range r.server.Requests() {
				if relists(q) {
					before++
				}
			}
			r.server.Forget() // so that all is asked for again
			for i := range 3 {
				r.wantRequests(before+1+i, relists)
				r.wantCluster(shopLines...)
				r.server.Cut()
			}
			r.server.Delete(service("db", "10.96.0.2"))
			release()
			r.wantCluster(withoutDB...)
		})
	}
}

// A server, or what is in between, that sends nonsense costs nothing but the connection.
func TestRunGarbage(t *testing.T) {
	for name, b := range map[string]kubetest.Behaviour{"in protobuf": {}, "in JSON": {JSONOnly: true}} {
		t.Run(name, func(t *testing.T) {
			r := served(t, b)
			garbled := b
			garbled.Garble = true
			r.server.Behave(garbled)
			r.server.End()
			r.server.Delete(service("api", "10.96.0.4"))
			for i := range 5 {
				r.server.Apply(slice("web", "web-1", "10.0.0.1@here", "10.0.0.2@there"), service("web", "10.96.0.1", "fd00::1"))
				r.wantRequests(3+2*(i+1), func(q kubetest.Request) bool { return q.Verb == "watch" })
				r.see("Services", func(s model.Snapshot) bool {
					if len(s.Services) < 2 {
						t.Errorf("%d Services are left", len(s.Services))
					}
					return true
				})
			}
			r.server.Behave(b)
			r.server.End()
			r.server.Delete(service("db", "10.96.0.2"))
			r.wantCluster(withoutDB...)
		})
	}
}

// relay passes connections on until it is frozen: then they stay open, but nothing comes through, as when a load
// balancer or a firewall in between forgets them. Later connections are fine.
type relay struct {
	net.Listener
	to string

	mu     sync.Mutex
	frozen chan struct{}
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: to, frozen: make(chan struct{})}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go r.pass(t, in)
		}
	}()
	return r
}

func (r *relay) pass(t *testing.T, in net.Conn) {
	out, err := net.Dial("tcp", r.to)
	if err != nil {
		_ = in.Close()
		return
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = out.Close()
	})
	r.mu.Lock()
	frozen := r.frozen
	r.mu.Unlock()
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			buffer := make([]byte, 32<<10)
			for {
				n, err := way[0].Read(buffer)
				select {
				case <-frozen:
					return // without closing anything
				default:
				}
				if _, failed := way[1].Write(buffer[:n]); failed != nil || err != nil {
					_ = way[1].Close()
					return
				}
			}
		}()
	}
}

// freeze stops what passes through the connections that there are.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.frozen)
	r.frozen = make(chan struct{})
}

// A connection that is dead but not closed is noticed by the pings of HTTP/2, which client-go sends after 30 silent
// seconds, and for which it waits 15.
func TestRunHalfOpenConnection(t *testing.T) {
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "1")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "1")
	r := newRig(t)
	var ca []byte
	r.server.Close()
	r.server, ca = kubetest.StartTLS()
	defer r.server.Close()
	line := newRelay(t, strings.TrimPrefix(r.server.URL, "https://"))
	r.config.REST.Host = "https://" + line.Addr().String()
	r.config.REST.TLSClientConfig = rest.TLSClientConfig{CAData: ca, ServerName: "example.com"}
	shop(r.server)
	r.run(hurry())
	defer r.stop()
	r.wantCluster(shopLines...)

	line.freeze()
	r.server.Delete(service("db", "10.96.0.2"))
	r.wantCluster(withoutDB...)
	if n := len(r.server.Requests()); n > 3*3 {
		t.Errorf("%d requests, want a new watch for each kind and no more", n)
	}
}
