package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// sink is where events go.
type sink interface {
	create(context.Context, *eventsv1.Event) error
	// patch sets how often an event happened, and when last.
	patch(ctx context.Context, namespace, name string, count int32, last time.Time) error
}

// api is the API server as a sink.
type api struct{ client rest.Interface }

func newClient(base *rest.Config) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(eventsv1.SchemeGroupVersion, &eventsv1.Event{})
	metav1.AddToGroupVersion(scheme, eventsv1.SchemeGroupVersion)
	c := rest.CopyConfig(base)
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.APIPath, c.GroupVersion = "/apis", &eventsv1.SchemeGroupVersion
	return rest.RESTClientFor(c)
}

// patience is how long one request may take.
const patience = 30 * time.Second

func (a *api) create(ctx context.Context, e *eventsv1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return a.client.Post().Namespace(e.Namespace).Resource("events").Body(e).Do(ctx).Error()
}

func (a *api) patch(ctx context.Context, namespace, name string, count int32, last time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body, err := json.Marshal(map[string]any{
		"series": eventsv1.EventSeries{Count: count, LastObservedTime: metav1.NewMicroTime(last)},
	})
	if err != nil {
		return fmt.Errorf("encode a series of events: %w", err)
	}
	return a.client.Patch(types.MergePatchType).Namespace(namespace).Resource("events").Name(name).Body(body).Do(ctx).Error()
}

// final reports whether the API server has understood and refused. What it answers when it has too much to do, or is
// starting, is no such answer.
func final(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code < http.StatusInternalServerError && code != http.StatusTooManyRequests
}

// mute logs the first of several failures in a row.
type mute struct{ failed bool }

func (m *mute) result(logger klog.Logger, verb string, err error) {
	switch {
	case err == nil:
		m.failed = false
	case m.failed, apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		logger.V(4).Info("An event is lost", "verb", verb, "err", err)
	case apierrors.IsForbidden(err):
		m.failed = true
		logger.Error(err, "Events are lost: this client needs RBAC permission for the verbs create and patch on the resource events of the API group events.k8s.io", "verb", verb)
	default:
		m.failed = true
		logger.Error(err, "Events are lost", "verb", verb)
	}
}
