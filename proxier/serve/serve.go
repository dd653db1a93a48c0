// Package serve keeps the HTTP servers of the process running: those for probes and for metrics.
//
// It knows addresses, limits for clients and what to do when an address cannot be had. It does not know what is
// served. (The health-check node ports of Services, which come and go, are in package health.)
//
// The one rule to respect: whoever serves here, the rules of the node are more important. No failure in here ends the
// process, unless the operator asked for that.
package serve

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/klog/v2"
)

// Server is an HTTP server that is to run as long as the process.
type Server struct {
	// Name is for logs: "probes".
	Name string
	// Address is an IP address and a port; 0.0.0.0 is all addresses of both families. Empty: nothing is served.
	Address string
	// HardFail: an address that cannot be had is an error of Run. Else it is tried again.
	HardFail bool
	Handler  http.Handler
	// Listening, if set, is told where the server listens. It must not block.
	Listening func(net.Addr)

	pause time.Duration // between attempts to listen; zero: retry
}

const (
	// retry is the pause between attempts to listen, as in kube-proxy.
	retry = 5 * time.Second
	// readLimit and idleLimit keep a slow or silent client from holding a connection for ever. Prometheus and load
	// balancers keep connections, but ask once a minute or more often.
	readLimit = 10 * time.Second
	idleLimit = 3 * time.Minute
	// farewell is how long requests in hand may take at the end.
	farewell = 2 * time.Second
)

// Run serves until ctx ends; then it lets requests in hand end and returns nil.
func (s Server) Run(ctx context.Context) error {
	if s.Address == "" {
		return nil
	}
	logger := klog.FromContext(ctx)
	failed := false
	for {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Address)
		if ctx.Err() != nil {
			if err == nil {
				_ = listener.Close()
			}
			return nil
		}
		if err == nil {
			logger.Info("Serving", "what", s.Name, "address", listener.Addr())
			if s.Listening != nil {
				s.Listening(listener.Addr())
			}
			failed = false
			if err = s.serve(ctx, listener); ctx.Err() != nil {
				return nil
			}
		}
		err = fmt.Errorf("serve %s on %s: %w", s.Name, s.Address, err)
		switch {
		case s.HardFail:
			return err
		case failed:
			logger.V(4).Info("Still cannot serve", "what", s.Name, "err", err)
		default:
			logger.Error(err, "Cannot serve; will try again and again", "what", s.Name)
		}
		failed = true
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(cmp.Or(s.pause, retry)):
		}
	}
}

// serve serves on the listener until it breaks or ctx ends.
func (s Server) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: readLimit,
		ReadTimeout:       readLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          klog.NewStandardLogger("WARNING"),
		// A write timeout is up to the handlers: a profile takes as long as was asked for.
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		_ = server.Close()
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if server.Shutdown(last) != nil {
		_ = server.Close() // a client that is slower than this is cut off
	}
	return <-ended
}
