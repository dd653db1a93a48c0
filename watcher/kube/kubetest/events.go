package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Events returns the Events that clients have created, in that order, as they are now.
func (s *Server) Events() []eventsv1.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []eventsv1.Event
	for _, e := range s.events {
		list = append(list, *e.DeepCopy())
	}
	return list
}

// ForgetEvents deletes all Events, as the real server does after an hour.
func (s *Server) ForgetEvents() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = nil
}

// eventPath takes the path of an Event, or of the Events of a namespace, apart.
func eventPath(path string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/apis/events.k8s.io/v1/namespaces/")
	if !ok {
		return "", "", false
	}
	namespace, rest, ok = strings.Cut(rest, "/events")
	return namespace, strings.TrimPrefix(rest, "/"), ok
}

// writeEvent creates or patches an Event.
func (s *Server) writeEvent(w http.ResponseWriter, r *http.Request, namespace, name string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client left
	}
	var e *eventsv1.Event
	var refusal *metav1.Status
	code := http.StatusOK
	if r.Method == http.MethodPost {
		code = http.StatusCreated
		e, refusal = s.createEvent(r.Header.Get("Content-Type"), body, namespace)
	} else {
		e, refusal = s.patchEvent(r.Header.Get("Content-Type"), body, namespace, name)
	}
	if refusal != nil {
		s.codec.refuse(w, refusal)
		return
	}
	e.SetGroupVersionKind(eventsv1.SchemeGroupVersion.WithKind("Event"))
	s.codec.write(w, code, s.codec.negotiate(r.Header.Get("Accept"), false), e)
}

func invalid(format string, args ...any) *metav1.Status {
	return Refusal(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, fmt.Sprintf("Event is invalid: "+format, args...))
}

func (s *Server) createEvent(contentType string, body []byte, namespace string) (*eventsv1.Event, *metav1.Status) {
	e := &eventsv1.Event{}
	if err := s.codec.decode(contentType, body, e); err != nil {
		return nil, Refusal(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
	}
	if refusal := check(e, namespace); refusal != nil {
		return nil, refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.event(e.Namespace, e.Name) != nil {
		return nil, Refusal(http.StatusConflict, metav1.StatusReasonAlreadyExists, e.Name+" already exists")
	}
	s.events = append(s.events, e)
	return e.DeepCopy(), nil
}

// patchEvent knows the series only, as nothing else of an Event can be changed.
func (s *Server) patchEvent(contentType string, body []byte, namespace, name string) (*eventsv1.Event, *metav1.Status) {
	if !strings.Contains(contentType, "merge-patch+json") {
		return nil, Refusal(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, contentType)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.event(namespace, name)
	if e == nil {
		return nil, Refusal(http.StatusNotFound, metav1.StatusReasonNotFound, name+" not found")
	}
	var patch struct{ Series *eventsv1.EventSeries }
	if err := json.Unmarshal(body, &patch); err != nil || patch.Series == nil {
		return nil, invalid("patch %s: %v", body, err)
	}
	if patch.Series.Count < 2 || patch.Series.LastObservedTime.IsZero() {
		return nil, invalid("series: %+v", *patch.Series)
	}
	e.Series = patch.Series
	return e.DeepCopy(), nil
}

func (s *Server) event(namespace, name string) *eventsv1.Event {
	i := slices.IndexFunc(s.events, func(e *eventsv1.Event) bool { return e.Namespace == namespace && e.Name == name })
	if i < 0 {
		return nil
	}
	return s.events[i]
}

// check says what the real server has against an Event (kubernetes: pkg/apis/core/validation/events.go).
func check(e *eventsv1.Event, namespace string) *metav1.Status {
	home := e.Regarding.Namespace
	if home == "" {
		home = metav1.NamespaceDefault
	}
	switch {
	case e.Namespace != namespace || namespace != home:
		return invalid("namespace %q of an event at %q about an object in %q", e.Namespace, namespace, e.Regarding.Namespace)
	case len(validation.IsDNS1123Subdomain(e.Name)) > 0:
		return invalid("metadata.name %q", e.Name)
	case e.EventTime.IsZero():
		return invalid("eventTime is required")
	case len(validation.IsQualifiedName(e.ReportingController)) > 0:
		return invalid("reportingController %q", e.ReportingController)
	case e.ReportingInstance == "" || len(e.ReportingInstance) > 128:
		return invalid("reportingInstance %q", e.ReportingInstance)
	case e.Action == "" || len(e.Action) > 128 || e.Reason == "" || len(e.Reason) > 128:
		return invalid("action %q, reason %q", e.Action, e.Reason)
	case e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning:
		return invalid("type %q", e.Type)
	case len(e.Note) > 1024:
		return invalid("note has %d bytes", len(e.Note))
	case e.DeprecatedCount != 0 || !e.DeprecatedFirstTimestamp.IsZero() || !e.DeprecatedLastTimestamp.IsZero() || e.DeprecatedSource != (corev1.EventSource{}):
		return invalid("deprecated fields are set")
	}
	return nil
}

// decode reads an object that a client sent.
func (c codec) decode(contentType string, body []byte, into runtime.Object) error {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("Content-Type %q: %w", contentType, err)
	}
	decoder := c.json.Serializer
	if media == runtime.ContentTypeProtobuf {
		decoder = c.protobuf.Serializer
	}
	_, _, err = decoder.Decode(body, nil, into)
	return err
}
