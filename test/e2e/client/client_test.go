package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"espalier/test/netns/lab"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Role {
		os.Exit(Run(os.Args[2:]))
	}
	os.Exit(m.Run())
}

const patience = 20 * time.Second

// start starts a client in the namespace that the test is in.
func start(t *testing.T, args ...string) *Stream {
	t.Helper()
	here, err := lab.Current("here")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(here.Close)
	s, err := Start(here, t.Name(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// wait returns what came of a client that ends by itself.
func wait(t *testing.T, args ...string) []Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	results, err := start(t, args...).Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// serve answers with the address of the client.
func serve(t *testing.T, handler http.HandlerFunc) (address string) {
	t.Helper()
	if handler == nil {
		handler = func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.RemoteAddr) }
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestEveryRequestIsAConnection(t *testing.T) {
	seen := map[string]bool{}
	results := wait(t, "--count", "20", "--every", "1ms", serve(t, nil))
	for _, r := range results {
		if r.Err != "" || r.Text != r.From.String() {
			t.Errorf("%+v: want the own address as the answer", r)
		}
		seen[r.Text] = true
	}
	if len(results) != 20 || len(seen) != 20 {
		t.Errorf("%d results, %d connections, want 20 of both", len(results), len(seen))
	}
}

func TestKeptConnectionIsOneUntilItBreaks(t *testing.T) {
	requests := 0
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests == 10 {
			panic(http.ErrAbortHandler) // closes the connection without an answer
		}
		_, _ = fmt.Fprint(w, r.RemoteAddr)
	})
	connections, failed := map[string]int{}, 0
	for _, r := range wait(t, "--count", "20", "--every", "1ms", "--keep", address) {
		if r.Err != "" {
			failed++
			continue
		}
		connections[r.Text]++
	}
	if failed != 1 || len(connections) != 2 {
		t.Errorf("%d failed, connections and their answers: %v; want 1 and two connections", failed, connections)
	}
}

func TestRefusedConnectionTellsItsPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	for _, proto := range []string{"http", "tcp", "udp"} {
		for _, r := range wait(t, "--count", "3", "--proto", proto, nobody) {
			if !strings.Contains(r.Err, "refused") || r.From.Port() == 0 {
				t.Errorf("%s: %+v, want a refused connection from a known port", proto, r)
			}
		}
	}
}

func TestErrorPageAndLateAnswerAreErrors(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			<-hold
		}
		http.Error(w, "the next one is away", http.StatusBadGateway)
	})
	for _, r := range wait(t, "--count", "1", "--ask", "/broken", address) {
		if r.Err != "502 Bad Gateway: the next one is away" {
			t.Errorf("%+v, want the error page as an error", r)
		}
	}
	for _, r := range wait(t, "--count", "1", "--ask", "/late", "--timeout", "50ms", address) {
		if !strings.Contains(r.Err, "timeout") {
			t.Errorf("%+v, want a timeout", r)
		}
	}
}

func TestDatagramsComeFromOnePortIfKept(t *testing.T) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	go func() {
		in := make([]byte, 64)
		for {
			n, from, err := packets.ReadFrom(in)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(fmt.Appendf(nil, "%s %s", in[:n], from), from)
		}
	}()
	for _, c := range []struct {
		args  []string
		ports int
	}{{nil, 5}, {[]string{"--keep"}, 1}} {
		ports := map[string]bool{}
		args := append([]string{"--proto", "udp", "--ask", "who", "--count", "5", packets.LocalAddr().String()}, c.args...)
		for _, r := range wait(t, args...) {
			if r.Err != "" || r.Text != "who "+r.From.String() {
				t.Errorf("%v: %+v", c.args, r)
			}
			ports[r.From.String()] = true
		}
		if len(ports) != c.ports {
			t.Errorf("%v: %d ports, want %d", c.args, len(ports), c.ports)
		}
	}
}

func TestStreamFlowsUntilItIsStopped(t *testing.T) {
	s := start(t, "--every", "1ms", serve(t, nil))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Flow(ctx, 50); err != nil {
		t.Fatal(err)
	}
	mark := s.Count()
	if _, err := s.Await(ctx, mark, "another one", func(Result) bool { return true }); err != nil {
		t.Fatal(err)
	}
	results, err := s.Stop()
	if err != nil || len(results) <= mark || len(Failed(results)) > 0 {
		t.Errorf("%d results, %d failed: %v", len(results), len(Failed(results)), err)
	}
	if _, err := s.Await(ctx, len(results), "one after the end", func(Result) bool { return true }); err == nil {
		t.Error("a result after the end: no error")
	}
}
