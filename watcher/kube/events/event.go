package events

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Event is something that happened to an object. Events that differ in nothing but the note are repeats of one.
type Event struct {
	Regarding Object
	// Warning: somebody should do something about it.
	Warning bool
	// Reason is why, and Action what we did or tried: words like "FailedToStartServiceHealthcheck" and "Listen".
	Reason, Action string
	// Note is a sentence for people; it may be empty.
	Note string
}

// Object is what an event is about.
type Object struct {
	Kind      string // of the core API group: "Service"
	Namespace string // empty: it is in none
	Name      string
}

// Node returns the Node of a name.
func Node(name string) Object { return Object{Kind: "Node", Name: name} }

// Service returns the Service of a name.
func Service(namespace, name string) Object {
	return Object{Kind: "Service", Namespace: namespace, Name: name}
}

// controller is who reports, for everybody who looks for events of kube-proxy.
const controller = "kube-proxy"

// Limits of the API (kubernetes: pkg/apis/core/validation/events.go), in bytes.
const (
	maxNote     = 1024
	maxInstance = 128
)

// home is the namespace of the event: that of the object, or default for an object that is in none.
func (o Object) home() string {
	if o.Namespace == "" {
		return metav1.NamespaceDefault
	}
	return o.Namespace
}

// key is what repeats have in common.
func (e Event) key() Event {
	e.Note = ""
	return e
}

// object returns the event as the API takes it. No two events have the same serial.
func (e Event) object(at time.Time, serial int64, instance string) *eventsv1.Event {
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: e.Regarding.home(), Name: name(e.Regarding.Name, serial)},
		EventTime:           metav1.NewMicroTime(at),
		ReportingController: controller,
		ReportingInstance:   clip(instance, maxInstance),
		Action:              e.Action,
		Reason:              e.Reason,
		Type:                kind,
		Note:                clip(e.Note, maxNote),
		Regarding: corev1.ObjectReference{
			APIVersion: "v1", Kind: e.Regarding.Kind, Namespace: e.Regarding.Namespace, Name: clip(e.Regarding.Name, validation.DNS1123SubdomainMaxLength),
		},
	}
}

// name returns a name that no other event has: that of the object, if it can be a part of it, and the serial.
func name(of string, serial int64) string {
	text := fmt.Sprintf("%s.%x", of, serial)
	if len(validation.IsDNS1123Subdomain(text)) > 0 {
		return fmt.Sprintf("%s.%x", controller, serial)
	}
	return text
}

// clip returns text of at most limit bytes that a protobuf message can hold, without control characters.
func clip(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == utf8.RuneError || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) <= limit {
		return text
	}
	const more = "…"
	text = text[:limit-len(more)]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + more
}
