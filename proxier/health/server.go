package health

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"k8s.io/klog/v2"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// Limits for a client, so that a slow or a silent one does not hold a connection for ever. Load balancers
// that keep connections alive ask every few seconds, at the most every five minutes.
const (
	readTimeout = 10 * time.Second
	idleTimeout = 10 * time.Minute
	headerBytes = 16 << 10
)

// endpoint is one listener and whom it answers for.
type endpoint struct {
	service model.ServiceName
	on      netip.AddrPort
}

// server is an HTTP server with its only listener. The listener has to be closed by itself: the server does not
// know it before its goroutine runs, and its port may be wanted for another Service at once.
type server struct {
	http     *http.Server
	listener net.Listener
}

// close closes the listener and all connections. It does not wait for the goroutine. There is nothing to say
// about errors: the sockets are gone in any case.
func (s server) close() {
	_ = s.listener.Close()
	_ = s.http.Close()
}

// A ListenError says that load balancers cannot ask about a Service at one of the node's addresses, and will
// think that it has no endpoint here. The next Update tries again.
type ListenError struct {
	Service model.ServiceName
	On      netip.AddrPort // the unspecified address: all of the family
	Err     error
}

// Error returns "answer health checks of Service shop/web on 0.0.0.0:32100: …".
func (e *ListenError) Error() string {
	return fmt.Sprintf("answer health checks of Service %v on %v: %v", e.Service, e.On, e.Err)
}

// Unwrap returns what the system said.
func (e *ListenError) Unwrap() error { return e.Err }

// open starts one server.
func (r *Responder) open(e endpoint) error {
	network := "tcp6" // not "tcp": its wildcard would take the port of the other family, too
	if r.family == ipproto.IPv4 {
		network = "tcp4"
	}
	listener, err := net.Listen(network, e.on.String())
	if err != nil {
		if other, ok := r.holder(e.on); ok {
			return fmt.Errorf("the port is that of Service %v: %w", other, err)
		}
		return err
	}
	s := server{listener: listener, http: &http.Server{
		Handler:        r.services[e.service],
		ReadTimeout:    readTimeout,
		WriteTimeout:   readTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: headerBytes,
		ErrorLog:       klog.NewStandardLogger("WARNING"),
	}}
	r.servers[e] = s
	r.serving.Go(func() {
		err := s.http.Serve(listener)
		r.lost(e, s, err)
	})
	return nil
}

// holder returns the Service whose server is in the way.
func (r *Responder) holder(on netip.AddrPort) (model.ServiceName, bool) {
	for e := range r.servers {
		if e.on == on {
			return e.service, true
		}
	}
	return model.ServiceName{}, false
}

// lost forgets a server that ended although nobody closed it, so that the next Update opens it again.
func (r *Responder) lost(e endpoint, s server, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.servers[e] != s {
		return
	}
	klog.ErrorS(err, "Health checks of a Service are not answered until the next sync", "service", e.service, "address", e.on)
	s.close()
	delete(r.servers, e)
}
