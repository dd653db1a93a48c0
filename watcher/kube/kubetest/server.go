package kubetest

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Server is the API server. Its methods can be called from any goroutine.
type Server struct {
	// URL is where it listens: "http://127.0.0.1:…".
	URL string

	http  *httptest.Server
	store *store
	codec codec

	mu        sync.Mutex
	behaviour Behaviour
	requests  []Request
	events    []*eventsv1.Event
	cut       chan struct{} // closed to cut all watches
	end       chan struct{} // closed to end all watches
	asked     chan struct{} // closed at each request
}

// Behaviour is how the server differs from a well-meaning one of today.
type Behaviour struct {
	JSONOnly        bool // it does not speak protobuf
	NoStreams       bool // it refuses sendInitialEvents, like one without the feature WatchList
	IgnoreSelectors bool
	// Refuse returns the error to answer a request with, or nil.
	Refuse func(Request) *metav1.Status
	// Pause returns a channel for which the answer to a request waits, in the middle of the initial objects, until it
	// is closed; or nil.
	Pause func(Request) <-chan struct{}
	// Garble: an event of a watch is followed by bytes that are none.
	Garble bool
}

// Request is a request that the server got.
type Request struct {
	Verb     string // "list" or "watch"; of Events "create" or "patch"
	Group    string // of the API; empty: core
	Resource string // "services"
	Query    url.Values
	Header   http.Header
}

// String returns what is typical of the request: "watch services stream from 7".
func (r Request) String() string {
	text := r.Verb + " " + r.Resource
	if r.Query.Get("sendInitialEvents") == "true" {
		text += " stream"
	}
	if version := r.Query.Get("resourceVersion"); version != "" {
		text += " from " + version
	}
	return text
}

// Start starts a server. It runs until Close.
func Start() *Server {
	s := New()
	s.http = httptest.NewServer(s)
	s.URL = s.http.URL
	return s
}

// StartTLS starts a server that speaks HTTP/2 over TLS, as the real one does, and returns what a client needs to trust
// it, in PEM.
func StartTLS() (s *Server, ca []byte) {
	s = New()
	s.http = httptest.NewUnstartedServer(s)
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	s.URL = s.http.URL
	return s, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
}

// New returns a server that listens nowhere: its ServeHTTP answers whatever is brought to it.
func New() *Server {
	return &Server{store: newStore(), codec: newCodec(), cut: make(chan struct{}), end: make(chan struct{}), asked: make(chan struct{})}
}

// Close cuts all connections and stops the server.
func (s *Server) Close() {
	s.Cut()
	if s.http == nil {
		return
	}
	s.http.CloseClientConnections()
	s.http.Close()
}

// Behave changes how requests from now on are answered.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// Apply creates or replaces objects. The server keeps a copy.
func (s *Server) Apply(objects ...runtime.Object) {
	for _, o := range objects {
		s.store.put(o.DeepCopyObject())
	}
}

// Prepare encodes all objects as protobuf, and keeps that, so that no client has to wait for it later.
func (s *Server) Prepare() {
	for _, k := range kinds {
		objects, _ := s.store.list(k.resource)
		for _, o := range objects {
			s.codec.prepare(o)
		}
	}
}

// Delete deletes objects, which need no more than a name. Deleting what is not there does nothing.
func (s *Server) Delete(objects ...runtime.Object) {
	for _, o := range objects {
		s.store.remove(o)
	}
}

// Forget drops the history: who wants changes since an earlier version gets 410 Gone, and so do open watches.
func (s *Server) Forget() { s.store.forget() }

// Bookmark sends the current version to all watches, as the real server does about once a minute.
func (s *Server) Bookmark() { s.store.bookmark() }

// Cut breaks the connections of all watches that are open.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.cut)
	s.cut = make(chan struct{})
}

// End ends all watches that are open, as the real server does when their time is over.
func (s *Server) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.end)
	s.end = make(chan struct{})
}

// Requests returns the requests up to now.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Await waits until there are n requests for which match returns true.
func (s *Server) Await(ctx context.Context, n int, match func(Request) bool) error {
	for {
		s.mu.Lock()
		found, next := 0, s.asked
		for _, r := range s.requests {
			if match(r) {
				found++
			}
		}
		s.mu.Unlock()
		if found >= n {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("await request %d of its kind, after %d: %w", n, found, ctx.Err())
		}
	}
}

// Refusal is an answer with an error.
func Refusal(code int32, reason metav1.StatusReason, message string) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}
}

// Forbid refuses a verb on a resource, as RBAC does. Empty means any.
func Forbid(verb, resource string) func(Request) *metav1.Status {
	return func(r Request) *metav1.Status {
		if verb != "" && r.Verb != verb || resource != "" && r.Resource != resource {
			return nil
		}
		return Refusal(http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(
			`%s is forbidden: User "kubetest" cannot %s resource %q at the cluster scope`, r.Resource, r.Verb, r.Resource))
	}
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if namespace, name, ok := eventPath(r.URL.Path); ok && (r.Method == http.MethodPost || r.Method == http.MethodPatch) {
		request := Request{Verb: "create", Group: eventsv1.GroupName, Resource: "events", Query: r.URL.Query(), Header: r.Header}
		if r.Method == http.MethodPatch {
			request.Verb = "patch"
		}
		if _, _, ok := s.admit(w, request); ok {
			s.writeEvent(w, r, namespace, name)
		}
		return
	}
	kind, ok := kindAt(r.URL.Path)
	if !ok || r.Method != http.MethodGet {
		s.codec.refuse(w, Refusal(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource"))
		return
	}
	request := Request{Verb: "list", Group: kind.group(), Resource: kind.resource, Query: r.URL.Query(), Header: r.Header}
	if request.Query.Get("watch") == "true" || request.Query.Get("watch") == "1" {
		request.Verb = "watch"
	}
	if b, ends, ok := s.admit(w, request); ok {
		s.answer(w, r, kind, request, b, ends)
	}
}

// ends are the ways in which an answer that takes its time ends before that.
type ends struct{ cut, end <-chan struct{} }

// abort closes the connection in the middle of the answer.
func abort() { panic(http.ErrAbortHandler) }

// admit notes a request, and refuses it if it is to be refused.
func (s *Server) admit(w http.ResponseWriter, request Request) (b Behaviour, e ends, ok bool) {
	s.mu.Lock()
	b, e = s.behaviour, ends{s.cut, s.end}
	s.requests = append(s.requests, request)
	close(s.asked)
	s.asked = make(chan struct{})
	s.mu.Unlock()

	if b.Refuse != nil {
		if status := b.Refuse(request); status != nil {
			s.codec.refuse(w, status)
			return b, e, false
		}
	}
	return b, e, true
}

// answer answers a list or a watch.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, kind kind, request Request, b Behaviour, e ends) {
	q, err := parseQuery(request.Query, b)
	if err != nil {
		s.codec.refuse(w, Refusal(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error()))
		return
	}
	if q.stream && b.NoStreams {
		s.codec.refuse(w, Refusal(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid,
			"sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"))
		return
	}
	media := s.codec.negotiate(r.Header.Get("Accept"), b.JSONOnly)
	pause := func() {}
	if b.Pause != nil {
		if until := b.Pause(request); until != nil {
			pause = func() { wait(r.Context(), until, e) }
		}
	}
	if request.Verb == "watch" {
		s.watch(w, r, kind, q, media, b.Garble, pause, e)
	} else {
		pause()
		s.list(w, kind, q, media)
	}
}

// wait keeps a client waiting.
func wait(ctx context.Context, until <-chan struct{}, e ends) {
	select {
	case <-until:
	case <-ctx.Done():
	case <-e.cut:
		abort()
	}
}

// kind is a kind of object and where it is found.
type kind struct {
	resource, path  string
	version, single string // apiVersion, kind
}

var kinds = [...]kind{
	{"services", "/api/v1/services", corev1.SchemeGroupVersion.String(), "Service"},
	{"nodes", "/api/v1/nodes", corev1.SchemeGroupVersion.String(), "Node"},
	{"endpointslices", "/apis/discovery.k8s.io/v1/endpointslices", discoveryv1.SchemeGroupVersion.String(), "EndpointSlice"},
	{"servicecidrs", "/apis/networking.k8s.io/v1/servicecidrs", networkingv1.SchemeGroupVersion.String(), "ServiceCIDR"},
}

// group is the API group of the kind; empty: core.
func (k kind) group() string {
	group, _, ok := strings.Cut(k.version, "/")
	if !ok {
		return ""
	}
	return group
}

func kindAt(path string) (kind, bool) {
	for _, k := range kinds {
		if strings.TrimSuffix(path, "/") == k.path {
			return k, true
		}
	}
	return kind{}, false
}
