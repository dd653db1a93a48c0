package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const patience = 20 * time.Second

// listen takes a port of the loopback interface.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// start runs the server until the end of the test, or until stop is called, which says what Run returned.
func start(t *testing.T, s Server) (listening <-chan string, stop func() error) {
	t.Helper()
	on := make(chan string, 10)
	s.Listening = func(a net.Addr) { on <- a.String() }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return on, func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			t.Fatal("Run does not end")
			return nil
		}
	}
}

func get(url string) (string, error) {
	client := http.Client{Timeout: patience}
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

func TestServesUntilTheEndAndLetsRequestsInHandEnd(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	on, stop := start(t, Server{Name: "test", Address: "127.0.0.1:0", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			inside <- true
			<-leave
		}
		hello(w, r)
	})})
	url := "http://" + <-on
	if body, err := get(url + "/"); body != "hello" || err != nil {
		t.Errorf("got %q, %v", body, err)
	}
	slow := make(chan string, 1)
	go func() {
		body, err := get(url + "/slow")
		slow <- fmt.Sprint(body, err)
	}()
	<-inside
	time.AfterFunc(50*time.Millisecond, func() { leave <- true }) // while the server shuts down
	if err := stop(); err != nil {
		t.Errorf("Run: %v, want nil at the end", err)
	}
	if got := <-slow; got != "hello<nil>" {
		t.Errorf("the request in hand got %s", got)
	}
	if _, err := get(url); err == nil {
		t.Error("it still answers")
	}
}

func TestAddressThatIsTakenIsTriedAgain(t *testing.T) {
	l := listen(t)
	on, stop := start(t, Server{Name: "test", Address: l.Addr().String(), Handler: http.HandlerFunc(hello), pause: time.Millisecond})
	select {
	case a := <-on:
		t.Fatalf("listens on %s, which is taken", a)
	case <-time.After(20 * time.Millisecond): // some attempts
	}
	_ = l.Close()
	select {
	case a := <-on:
		if body, err := get("http://" + a); body != "hello" {
			t.Errorf("got %q, %v", body, err)
		}
	case <-time.After(patience):
		t.Fatal("does not listen although the address is free")
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestHardFail(t *testing.T) {
	l := listen(t)
	err := Server{Name: "probes", Address: l.Addr().String(), HardFail: true}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "serve probes on "+l.Addr().String()) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error %v, want what was to be served where, and why not", err)
	}
}

func TestWithoutAnAddressNothingIsServed(t *testing.T) {
	if err := (Server{HardFail: true}).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEndsWhileTheAddressIsTaken(t *testing.T) {
	_, stop := start(t, Server{Address: listen(t).Addr().String()})
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Both families are served at 0.0.0.0, as by kube-proxy.
func TestWildcardServesBothFamilies(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else {
		_ = l.Close()
	}
	on, stop := start(t, Server{Address: "0.0.0.0:0", Handler: http.HandlerFunc(hello)})
	_, port, _ := net.SplitHostPort(<-on)
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		if body, err := get("http://" + host + ":" + port); body != "hello" {
			t.Errorf("%s: %q, %v", host, body, err)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
