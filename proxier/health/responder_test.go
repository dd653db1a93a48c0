package health

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

var (
	web = model.ServiceName{Namespace: "shop", Name: "web"}
	api = model.ServiceName{Namespace: "shop", Name: "api"}
)

// start returns a healthy Responder that ends with the test.
func start(t *testing.T, f ipproto.Family) *Responder {
	t.Helper()
	r := New(f, nil)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// freePort returns a TCP port that nobody uses on any address.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

func addrs(texts ...string) []netip.Addr {
	list := []netip.Addr{}
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func mustUpdate(t *testing.T, r *Responder, on []netip.Addr, services ...Service) {
	t.Helper()
	if err := r.Update(on, services); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

// ask returns what a load balancer sees: "200 web", "503 web" or "refused".
func ask(t *testing.T, addr string, port uint16) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + net.JoinHostPort(addr, fmt.Sprint(port)) + "/healthz")
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	if err != nil {
		t.Fatalf("ask %s:%d: %v", addr, port, err)
	}
	defer resp.Body.Close()
	name := "?"
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("ask %s:%d: %v", addr, port, err)
	}
	if _, after, ok := strings.Cut(string(body), `"name": "`); ok {
		name, _, _ = strings.Cut(after, `"`)
	}
	return fmt.Sprint(resp.StatusCode, " ", name)
}

func wantAsk(t *testing.T, addr string, port uint16, want string) {
	t.Helper()
	if got := ask(t, addr, port); got != want {
		t.Errorf("%s:%d answers %q, want %q", addr, port, got, want)
	}
}

func TestResponderFollowsServices(t *testing.T) {
	r, a, b := start(t, ipproto.IPv4), freePort(t), freePort(t)

	mustUpdate(t, r, nil, Service{web, a, 1}, Service{api, b, 0}, Service{Name: model.ServiceName{Name: "none"}})
	wantAsk(t, "127.0.0.1", a, "200 web")
	wantAsk(t, "127.0.0.5", a, "200 web") // the wildcard
	wantAsk(t, "127.0.0.1", b, "503 api")

	mustUpdate(t, r, nil, Service{web, a, 0}, Service{api, b, 3})
	wantAsk(t, "127.0.0.1", a, "503 web")
	wantAsk(t, "127.0.0.1", b, "200 api")

	mustUpdate(t, r, nil, Service{web, b, 1}, Service{api, a, 1}) // each takes the other's port
	wantAsk(t, "127.0.0.1", a, "200 api")
	wantAsk(t, "127.0.0.1", b, "200 web")

	mustUpdate(t, r, nil, Service{web, a, 1}) // a port that the vanished Service had
	wantAsk(t, "127.0.0.1", a, "200 web")
	wantAsk(t, "127.0.0.1", b, "refused")

	mustUpdate(t, r, nil)
	wantAsk(t, "127.0.0.1", a, "refused")
}

func TestResponderHealth(t *testing.T) {
	var healthy atomic.Bool
	r, port := New(ipproto.IPv4, healthy.Load), freePort(t)
	defer r.Close()
	mustUpdate(t, r, addrs("127.0.0.1"), Service{web, port, 1})
	wantAsk(t, "127.0.0.1", port, "503 web")
	healthy.Store(true) // takes effect without an Update
	wantAsk(t, "127.0.0.1", port, "200 web")
}

func TestResponderFollowsAddresses(t *testing.T) {
	r, port := start(t, ipproto.IPv4), freePort(t)
	s := Service{web, port, 1}

	mustUpdate(t, r, addrs("127.0.0.2", "127.0.0.3", "127.0.0.3", "::1"), s)
	wantAsk(t, "127.0.0.2", port, "200 web")
	wantAsk(t, "127.0.0.3", port, "200 web")
	wantAsk(t, "127.0.0.1", port, "refused")
	wantAsk(t, "::1", port, "refused") // the other family's business

	kept := keepAlive(t, "127.0.0.3", port)
	mustUpdate(t, r, addrs("::ffff:127.0.0.3", "127.0.0.4"), s)
	wantAsk(t, "127.0.0.2", port, "refused")
	wantAsk(t, "127.0.0.4", port, "200 web")
	if !kept() {
		t.Error("a connection to an address that stayed was closed")
	}

	mustUpdate(t, r, nil, s)
	wantAsk(t, "127.0.0.2", port, "200 web")
	mustUpdate(t, r, addrs("127.0.0.4"), s)
	wantAsk(t, "127.0.0.2", port, "refused")
	mustUpdate(t, r, addrs(), s) // none, which is not the same as all
	wantAsk(t, "127.0.0.4", port, "refused")
}

func TestResponderFamiliesShareAPort(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here (%v); run it where ::1 exists", err)
	} else {
		l.Close()
	}
	r4, r6, port := start(t, ipproto.IPv4), start(t, ipproto.IPv6), freePort(t)
	mustUpdate(t, r6, nil, Service{web, port, 0})
	mustUpdate(t, r4, nil, Service{web, port, 1})
	wantAsk(t, "::1", port, "503 web")
	wantAsk(t, "127.0.0.1", port, "200 web")
}

func TestResponderPortTaken(t *testing.T) {
	r, taken, free := start(t, ipproto.IPv4), freePort(t), freePort(t)
	foreign, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.2:%d", taken))
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()

	on, services := addrs("127.0.0.1", "127.0.0.2"), []Service{{web, taken, 1}, {api, free, 1}}
	for range 2 { // every Update says so
		err = r.Update(on, services)
		var refused *ListenError
		if !errors.As(err, &refused) || !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("Update: %v, want a ListenError: address already in use", err)
		}
		if want := netip.AddrPortFrom(on[1], taken); refused.Service != web || refused.On != want {
			t.Errorf("the error is about %v on %v, want %v on %v", refused.Service, refused.On, web, want)
		}
		if want := fmt.Sprintf("answer health checks of Service shop/web on 127.0.0.2:%d: ", taken); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %q, want it to start with %q", err, want)
		}
		wantAsk(t, "127.0.0.1", taken, "200 web") // what can be answered is
		wantAsk(t, "127.0.0.2", free, "200 api")
	}

	foreign.Close()
	mustUpdate(t, r, on, services...)
	wantAsk(t, "127.0.0.2", taken, "200 web")
}

func TestResponderTwoServicesOnePort(t *testing.T) {
	r, port := start(t, ipproto.IPv4), freePort(t)
	on := addrs("127.0.0.1")
	err := r.Update(on, []Service{{web, port, 1}, {api, port, 1}})
	if err == nil || !strings.Contains(err.Error(), "Service shop/web on 127.0.0.1") || !strings.Contains(err.Error(), "the port is that of Service shop/api") {
		t.Fatalf("Update: %v, want an error that names both Services", err)
	}
	wantAsk(t, "127.0.0.1", port, "200 api") // the first by name
	mustUpdate(t, r, on, Service{web, port, 1})
	wantAsk(t, "127.0.0.1", port, "200 web")
}

func TestResponderClosesHard(t *testing.T) {
	r, port := start(t, ipproto.IPv4), freePort(t)
	mustUpdate(t, r, addrs("127.0.0.1"), Service{web, port, 1})
	alive := keepAlive(t, "127.0.0.1", port)
	inHand := r.services[web]

	mustUpdate(t, r, addrs("127.0.0.1"))
	if alive() {
		t.Error("the connection outlived the Service")
	}
	w := httptest.NewRecorder() // a request that the server had accepted before it was closed
	inHand.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 503 || w.Header().Get("X-Load-Balancing-Endpoint-Weight") != "0" {
		t.Errorf("a removed Service answers %d with weight %s, want 503 with 0", w.Code, w.Header().Get("X-Load-Balancing-Endpoint-Weight"))
	}
}

func TestResponderReopensALostListener(t *testing.T) {
	r, port := start(t, ipproto.IPv4), freePort(t)
	s := Service{web, port, 1}
	mustUpdate(t, r, addrs("127.0.0.1"), s)
	wantAsk(t, "127.0.0.1", port, "200 web")
	r.mu.Lock()
	for _, server := range r.servers {
		server.listener.Close()
	}
	r.mu.Unlock()
	r.serving.Wait()
	wantAsk(t, "127.0.0.1", port, "refused")
	mustUpdate(t, r, addrs("127.0.0.1"), s)
	wantAsk(t, "127.0.0.1", port, "200 web")
}

func TestResponderClose(t *testing.T) {
	r, port := New(ipproto.IPv4, nil), freePort(t)
	mustUpdate(t, r, nil, Service{web, port, 1})
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantAsk(t, "127.0.0.1", port, "refused")
	if err := r.Update(nil, []Service{{web, port, 1}}); err == nil {
		t.Error("Update after Close opened servers")
	}
	if err := r.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// keepAlive asks once over a connection that stays open. The returned function asks again over it and
// reports whether it was still there.
func keepAlive(t *testing.T, addr string, port uint16) func() bool {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort(addr, fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	in := bufio.NewReader(conn)
	again := func() bool {
		if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: lb\r\n\r\n"); err != nil {
			return false
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err == nil
	}
	if !again() {
		t.Fatal("no first answer")
	}
	return again
}

// A server may be closed before its goroutine had a chance to run. Its port must be free all the same.
func TestResponderSwapsPortsAtOnce(t *testing.T) {
	r, a, b, on := start(t, ipproto.IPv4), freePort(t), freePort(t), addrs("127.0.0.1")
	for range 200 {
		mustUpdate(t, r, on, Service{web, a, 1}, Service{api, b, 1})
		mustUpdate(t, r, on, Service{web, b, 1}, Service{api, a, 1})
	}
	wantAsk(t, "127.0.0.1", b, "200 web")
}
