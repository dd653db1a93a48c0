package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// An answer is what a pod says about one request: who it is, whom it saw asking, and what the pod behind
// it said.
type answer struct {
	Pod    string  `json:"pod"`
	Caller string  `json:"caller"` // the source address, as this pod saw it
	Next   *answer `json:"next,omitempty"`
}

// path lists the pods that took part, in the order in which they were asked.
func (a *answer) path() []string {
	var pods []string
	for ; a != nil; a = a.Next {
		pods = append(pods, a.Pod)
	}
	return pods
}

// callTimeout bounds one request from pod to pod. A lost packet is sent again after 1 s, so a slow answer
// still counts as one.
const callTimeout = 3 * time.Second

// podRole is the container of a pod: it serves HTTP on $PORT until SIGTERM. If $CALLS names another
// Service, each request asks there first.
func podRole([]string) error {
	if err := awaitNetwork(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp4", ":"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: servePage(os.Getenv("HOSTNAME"), os.Getenv("CALLS")), ReadHeaderTimeout: callTimeout}
	server.SetKeepAlivesEnabled(false)
	go server.Serve(listener) //nolint:errcheck // it ends by Shutdown
	fmt.Println(saysReady)
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return server.Shutdown(grace)
}

func servePage(pod, calls string) http.Handler {
	client := newClient(callTimeout)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := answer{Pod: pod}
		page.Caller, _, _ = net.SplitHostPort(r.RemoteAddr)
		if calls != "" {
			next, err := fetch(r.Context(), client, calls)
			if err != nil {
				http.Error(w, fmt.Sprintf("%s: %v", pod, err), http.StatusBadGateway)
				return
			}
			page.Next = next
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page) // a caller that left needs no answer
	})
}
