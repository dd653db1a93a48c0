package kubetest

import (
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// list answers with all objects, or a page of them. As in the real server, version "0" is answered from memory,
// where limits do not count.
func (s *Server) list(w http.ResponseWriter, k kind, q query, m media) {
	objects, version := s.store.list(k.resource)
	var page []runtime.Object
	next := ""
	for _, o := range objects {
		name := key(o.(metav1.Object))
		if !q.matches(o) || q.next != "" && name <= q.next {
			continue
		}
		if q.limit > 0 && q.version != "0" && len(page) == q.limit {
			next = key(page[len(page)-1].(metav1.Object))
			break
		}
		page = append(page, o)
	}
	list := newList(k)
	if err := meta.SetList(list, page); err != nil {
		panic(err) // kinds and lists do not fit together
	}
	list.(metav1.ListInterface).SetResourceVersion(strconv.FormatUint(version, 10))
	list.(metav1.ListInterface).SetContinue(next)
	list.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(k.version, k.single+"List"))
	s.codec.write(w, http.StatusOK, m, list)
}

// watch sends changes until the client leaves, the time is over or the connection is cut.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, k kind, q query, m media, garble bool, pause func(), e ends) {
	stream := s.codec.stream(w, m)
	version := q.since
	if q.stream || version == 0 {
		var objects []runtime.Object
		objects, version = s.store.list(k.resource)
		for i, o := range objects {
			if i == len(objects)/2 {
				stream.flush()
				pause()
			}
			if q.matches(o) {
				stream.send(watch.Added, o)
			}
		}
		if q.stream {
			stream.send(watch.Bookmark, bookmark(k, version, map[string]string{metav1.InitialEventsAnnotationKey: "true"}))
		}
	}
	stream.flush()

	timeout := time.NewTimer(q.timeout)
	defer timeout.Stop()
	for seen := 0; ; {
		news, next, more, ok := s.store.since(version, seen)
		if !ok {
			stream.send(watch.Error, Refusal(http.StatusGone, metav1.StatusReasonExpired, "too old resource version"))
			stream.flush()
			return
		}
		select {
		case <-e.cut: // what changed after the cut must not get through
			abort()
		case <-e.end:
			return
		default:
		}
		for _, e := range news {
			stream.change(k, q, e)
			version = e.version
		}
		seen = next
		if garble && len(news) > 0 {
			stream.garble()
			return
		}
		stream.flush()
		select {
		case <-more:
		case <-timeout.C:
			return
		case <-r.Context().Done():
			return
		case <-e.end:
			return
		case <-e.cut:
			abort()
		}
	}
}

// change sends an event as a client with the selectors of q sees it: an object that stops to match is deleted.
func (s *stream) change(k kind, q query, e event) {
	if e.old == nil && e.new == nil {
		if q.bookmarks {
			s.send(watch.Bookmark, bookmark(k, e.version, nil))
		}
		return
	}
	if e.resource != k.resource {
		return
	}
	switch was, is := q.matches(e.old), q.matches(e.new); {
	case is && was:
		s.send(watch.Modified, e.new)
	case is:
		s.send(watch.Added, e.new)
	case was:
		last := e.old.DeepCopyObject()
		last.(metav1.Object).SetResourceVersion(strconv.FormatUint(e.version, 10))
		s.send(watch.Deleted, last)
	}
}

func bookmark(k kind, version uint64, annotations map[string]string) runtime.Object {
	o := newObject(k)
	o.(metav1.Object).SetResourceVersion(strconv.FormatUint(version, 10))
	o.(metav1.Object).SetAnnotations(annotations)
	o.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(k.version, k.single))
	return o
}

func newObject(k kind) runtime.Object {
	switch k.resource {
	case "services":
		return &corev1.Service{}
	case "nodes":
		return &corev1.Node{}
	case "servicecidrs":
		return &networkingv1.ServiceCIDR{}
	}
	return &discoveryv1.EndpointSlice{}
}

func newList(k kind) runtime.Object {
	switch k.resource {
	case "services":
		return &corev1.ServiceList{}
	case "nodes":
		return &corev1.NodeList{}
	case "servicecidrs":
		return &networkingv1.ServiceCIDRList{}
	}
	return &discoveryv1.EndpointSliceList{}
}
