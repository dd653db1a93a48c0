package kubetest

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// query is what a client wants.
type query struct {
	labels    labels.Selector
	fields    fields.Selector
	version   string // resourceVersion: empty, "0" or a number
	since     uint64 // the number
	limit     int
	next      string // continue
	stream    bool   // sendInitialEvents
	bookmarks bool
	timeout   time.Duration
}

func parseQuery(v url.Values, b Behaviour) (query, error) {
	q := query{
		labels: labels.Everything(), fields: fields.Everything(),
		version: v.Get("resourceVersion"), next: v.Get("continue"),
		stream: v.Get("sendInitialEvents") == "true", bookmarks: v.Get("allowWatchBookmarks") == "true",
	}
	var err error
	if !b.IgnoreSelectors {
		if q.labels, err = labels.Parse(v.Get("labelSelector")); err != nil {
			return q, fmt.Errorf("labelSelector: %w", err)
		}
		if q.fields, err = fields.ParseSelector(v.Get("fieldSelector")); err != nil {
			return q, fmt.Errorf("fieldSelector: %w", err)
		}
	}
	if q.version != "" {
		if q.since, err = strconv.ParseUint(q.version, 10, 64); err != nil {
			return q, fmt.Errorf("resourceVersion: %w", err)
		}
	}
	if text := v.Get("limit"); text != "" {
		if q.limit, err = strconv.Atoi(text); err != nil {
			return q, fmt.Errorf("limit: %w", err)
		}
	}
	seconds := 600
	if text := v.Get("timeoutSeconds"); text != "" {
		if seconds, err = strconv.Atoi(text); err != nil {
			return q, fmt.Errorf("timeoutSeconds: %w", err)
		}
	}
	q.timeout = time.Duration(seconds) * time.Second
	if q.stream && (v.Get("resourceVersionMatch") != "NotOlderThan" || !q.bookmarks) {
		return q, errors.New("sendInitialEvents: needs resourceVersionMatch=NotOlderThan and allowWatchBookmarks=true")
	}
	return q, nil
}

// matches reports whether the selectors include an object.
func (q query) matches(o runtime.Object) bool {
	if o == nil {
		return false
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return false
	}
	set := fields.Set{"metadata.name": m.GetName(), "metadata.namespace": m.GetNamespace()}
	if s, ok := o.(*corev1.Service); ok {
		set["spec.clusterIP"], set["spec.type"] = s.Spec.ClusterIP, string(s.Spec.Type)
	}
	return q.labels.Matches(labels.Set(m.GetLabels())) && q.fields.Matches(set)
}
