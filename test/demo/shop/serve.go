package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
)

// Container is what its environment tells a container of the shop.
type Container struct {
	Pod   string // its name, $HOSTNAME
	Port  string // where it listens, $PORT
	Calls string // the URL that each request asks first, $CALLS; empty: it asks nobody
}

// Serve answers until ctx ends, then ends what it is doing. It calls ready when it listens.
func (c Container) Serve(ctx context.Context, ready func()) error {
	listener, err := net.Listen("tcp", ":"+c.Port)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: c.handler(), ReadHeaderTimeout: CallTimeout}
	server.SetKeepAlivesEnabled(false)
	go server.Serve(listener) //nolint:errcheck // it ends by Shutdown
	ready()
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), CallTimeout)
	defer cancel()
	return server.Shutdown(grace)
}

func (c Container) handler() http.Handler {
	client := NewClient(CallTimeout)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := Answer{Pod: c.Pod}
		page.Caller, _, _ = net.SplitHostPort(r.RemoteAddr)
		if c.Calls != "" {
			next, err := Call(r.Context(), client, c.Calls)
			if err != nil {
				http.Error(w, fmt.Sprintf("%s: %v", c.Pod, err), http.StatusBadGateway)
				return
			}
			page.Next = next
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page) // a caller that left needs no answer
	})
}
