package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
)

// server is the image netexec, named after what the conformance tests of Kubernetes use (agnhost netexec).
//
//	GET  /hostname          its name; so does /
//	GET  /clientip          address and port of the client
//	GET  /echo?msg=…        the message
//	GET  /slow?for=2s       its name, later
//	GET  /healthz           200, or 503 if it was told not to be ready
//	POST /ready?state=false be ready, or not
//	POST /exit?code=3       crash
//
// By UDP, the text of the datagram is the path: "hostname", "clientip", "echo …".
type server struct {
	name    string
	unready atomic.Bool
}

func netexec(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet("netexec", pflag.ContinueOnError)
	httpPort := flags.Int("http-port", 8080, "where to listen for HTTP")
	udpPort := flags.Int("udp-port", 8081, "where to listen for UDP; -1: nowhere")
	udpAddresses := flags.StringSlice("udp-listen-addresses", nil, "where to listen for UDP; with the addresses of its own, a host that has several answers from the one that was asked")
	delay := flags.Int("delay-shutdown", 0, "seconds to serve on after SIGTERM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := &server{name: os.Getenv("HOSTNAME")}
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(*httpPort))
	if err != nil {
		return err
	}
	defer listener.Close()
	if len(*udpAddresses) == 0 {
		*udpAddresses = []string{""}
	}
	for _, address := range *udpAddresses {
		if *udpPort < 0 {
			break
		}
		packets, err := net.ListenPacket("udp", net.JoinHostPort(address, strconv.Itoa(*udpPort)))
		if err != nil {
			return err
		}
		defer packets.Close()
		go s.serveUDP(packets)
	}
	web := &http.Server{Handler: s.handler(), ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	sayReady()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	time.Sleep(time.Duration(*delay) * time.Second)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(web.Shutdown(grace), web.Close())
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	hostname := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s.name) }
	mux.HandleFunc("/", hostname)
	mux.HandleFunc("/hostname", hostname)
	mux.HandleFunc("/clientip", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.FormValue("msg")) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		wait, err := time.ParseDuration(r.FormValue("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(wait):
			hostname(w, r)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if s.unready.Load() {
			http.Error(w, "told not to be ready", http.StatusServiceUnavailable)
			return
		}
		hostname(w, r)
	})
	mux.HandleFunc("POST /ready", func(w http.ResponseWriter, r *http.Request) {
		ready, err := strconv.ParseBool(r.FormValue("state"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.unready.Store(!ready)
	})
	mux.HandleFunc("POST /exit", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.FormValue("code"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		os.Exit(code)
	})
	return mux
}

func (s *server) serveUDP(packets net.PacketConn) {
	in := make([]byte, 2048)
	for {
		n, from, err := packets.ReadFrom(in)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error about an earlier answer
		}
		command, rest, _ := strings.Cut(strings.TrimSpace(string(in[:n])), " ")
		answer := fmt.Sprintf("what is %q?", command)
		switch command {
		case "hostname":
			answer = s.name
		case "clientip":
			answer = from.String()
		case "echo":
			answer = rest
		}
		_, _ = packets.WriteTo([]byte(answer), from) // lost is lost
	}
}
