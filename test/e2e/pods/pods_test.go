package pods

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestImageIsFoundWithoutItsTag(t *testing.T) {
	for name, want := range map[string]bool{
		"e2e.example/netexec":            true,
		"e2e.example/netexec:1.0":        true,
		"e2e.example/netexec@sha256:abc": true,
		"shop.example/frontend:2":        true,
		"e2e.example:5000/netexec":       false,
		"netexec":                        false,
		"":                               false,
	} {
		if got := Known(name); got != want {
			t.Errorf("Known(%q) = %t, want %t", name, got, want)
		}
	}
}

// free returns a port on which nobody listens.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestNetexecSaysWhoItIsAndCanBeToldNotToBeReady(t *testing.T) {
	t.Setenv("HOSTNAME", "web-1")
	ctx, stop := context.WithCancel(t.Context())
	port := strconv.Itoa(free(t))
	ended := make(chan error, 1)
	go func() { ended <- netexec(ctx, []string{"--http-port", port, "--udp-port", port}) }()
	base := "http://127.0.0.1:" + port
	await(t, base+"/healthz", http.StatusOK)
	for path, want := range map[string]string{"/": "web-1", "/hostname": "web-1", "/echo?msg=hi": "hi", "/slow?for=1ms": "web-1"} {
		if got, _ := ask(t, http.MethodGet, base+path); got != want {
			t.Errorf("%s says %q, want %q", path, got, want)
		}
	}
	if got := askUDP(t, "127.0.0.1:"+port, "hostname"); got != "web-1" {
		t.Errorf("by UDP it says %q", got)
	}
	if got := askUDP(t, "127.0.0.1:"+port, "echo a b"); got != "a b" {
		t.Errorf("by UDP it echoes %q", got)
	}
	ask(t, http.MethodPost, base+"/ready?state=false")
	await(t, base+"/healthz", http.StatusServiceUnavailable)
	ask(t, http.MethodPost, base+"/ready?state=true")
	await(t, base+"/healthz", http.StatusOK)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func ask(t *testing.T, method, url string) (string, int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error(), 0
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body), resp.StatusCode
}

func await(t *testing.T, url string, status int) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		body, code := ask(t, http.MethodGet, url)
		if code == status {
			return
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("%s: %d %s, want %d", url, code, body, status)
		}
	}
}

func askUDP(t *testing.T, address, text string) string {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	in := make([]byte, 2048)
	n, err := conn.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(in[:n])
}
