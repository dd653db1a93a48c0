package kube

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"espalier/proxier/model"
)

// testSink returns the sink of Services with a log of what it does.
func testSink() (*sink[model.ServiceName, []*model.Service], func() []string) {
	var log []string
	s := serviceSink(Config{})
	s.link = &link{}
	s.set = func(n model.ServiceName, f []*model.Service) {
		log = append(log, fmt.Sprintf("set %v for %d families", n, len(f)))
	}
	s.remove = func(n model.ServiceName) { log = append(log, fmt.Sprintf("remove %v", n)) }
	s.reports = newReports(func(object string, p []model.Problem) {
		log = append(log, fmt.Sprintf("%s has %d problems", object, len(p)))
	})
	s.listed = func() { log = append(log, "listed") }
	return s, func() []string {
		l := log
		log = nil
		return l
	}
}

// broken returns a Service with an external IP that is none.
func broken(name string) *corev1.Service {
	s := service(name, "10.96.0.1")
	s.Spec.ExternalIPs = []string{"no address"}
	return s
}

func TestSink(t *testing.T) {
	web, theirs := service("web", "10.96.0.1", "fd00::1"), labelled(service("web", "10.96.0.1"), "service.kubernetes.io/service-proxy-name")
	noPorts := service("web", "10.96.0.1")
	noPorts.Spec.Ports = nil
	replace := func(objs ...any) func(cache.ReflectorStore) error {
		return func(s cache.ReflectorStore) error { return s.Replace(objs, "7") }
	}
	add := func(o any) func(cache.ReflectorStore) error {
		return func(s cache.ReflectorStore) error { return s.Add(o) }
	}
	update := func(o any) func(cache.ReflectorStore) error {
		return func(s cache.ReflectorStore) error { return s.Update(o) }
	}
	remove := func(o any) func(cache.ReflectorStore) error {
		return func(s cache.ReflectorStore) error { return s.Delete(o) }
	}
	transformed := func(o any) any {
		s, _ := testSink()
		it, err := s.Transformer()(o)
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	type steps = []func(cache.ReflectorStore) error
	for _, test := range []struct {
		name  string
		steps steps
		want  []string
	}{
		{"an object comes and goes", steps{add(web), update(web), remove(web)},
			[]string{"set shop/web for 2 families", "set shop/web for 2 families", "remove shop/web"}},
		{"one that is not ours is nothing", steps{add(theirs), update(theirs), remove(theirs)}, nil},
		{"it stops to be ours", steps{add(web), update(theirs), remove(theirs)},
			[]string{"set shop/web for 2 families", "remove shop/web"}},
		{"a list sets new ones before it removes old ones", steps{add(web), replace(service("db", "10.96.0.2"))},
			[]string{"set shop/web for 2 families", "set shop/db for 1 families", "remove shop/web", "listed"}},
		{"an empty list empties", steps{add(web), replace()},
			[]string{"set shop/web for 2 families", "remove shop/web", "listed"}},
		{"a stream brings what is converted already", steps{replace(transformed(web))},
			[]string{"set shop/web for 2 families", "listed"}},
		{"a problem is reported once", steps{add(broken("web")), update(broken("web")), replace(broken("web"))},
			[]string{"Service shop/web has 1 problems", "set shop/web for 1 families", "set shop/web for 1 families", "set shop/web for 1 families", "listed"}},
		{"a problem is repaired", steps{add(broken("web")), update(web)},
			[]string{"Service shop/web has 1 problems", "set shop/web for 1 families", "Service shop/web has 0 problems", "set shop/web for 2 families"}},
		{"a problem is deleted", steps{add(broken("web")), remove(broken("web"))},
			[]string{"Service shop/web has 1 problems", "set shop/web for 1 families", "Service shop/web has 0 problems", "remove shop/web"}},
		{"a problem without a Service vanishes", steps{add(noPorts), replace()},
			[]string{"Service shop/web has 1 problems", "Service shop/web has 0 problems", "listed"}},
		{"a Service becomes unusable", steps{add(web), update(noPorts)},
			[]string{"set shop/web for 2 families", "Service shop/web has 1 problems", "remove shop/web"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, log := testSink()
			for _, step := range test.steps {
				if err := step(s); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(test.want, log()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// A server that answers with something else must not crash us.
func TestSinkForeignObjects(t *testing.T) {
	for _, s := range []cache.ReflectorStore{serviceSink(Config{}), sliceSink(Config{}), nodeSink(&node{})} {
		for _, o := range []any{nil, &corev1.Pod{}, &metav1.Status{}, "text"} {
			for name, call := range map[string]func(any) error{
				"Add": s.Add, "Delete": s.Delete,
				"Replace": func(o any) error { return s.Replace([]any{o}, "7") },
			} {
				if err := call(o); err == nil || !strings.Contains(err.Error(), "the API server sent a ") {
					t.Errorf("%T: %s(%T): error %v, want one that says what the server sent", s, name, o, err)
				}
			}
		}
	}
}

// What is kept of an object must not refer to the object, or else all of it stays in memory.
func TestSinkKeepsNoObjects(t *testing.T) {
	var (
		left  []weak.Pointer[corev1.Service]
		ports []weak.Pointer[corev1.ServicePort] // a part that is in memory by itself
	)
	object := func() *corev1.Service {
		s := broken("web")
		left, ports = append(left, weak.Make(s)), append(ports, weak.Make(&s.Spec.Ports[0]))
		return s
	}
	var kept []any
	s, _ := testSink()
	s.set = func(_ model.ServiceName, f []*model.Service) { kept = append(kept, f) }
	it, err := s.Transformer()(object())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []error{s.Add(object()), s.Update(object()), s.Replace([]any{object(), it}, "7")} {
		if step != nil {
			t.Fatal(step)
		}
	}
	runtime.GC()
	for i, p := range left {
		if p.Value() != nil || ports[i].Value() != nil {
			t.Errorf("object %d is still in memory, or its ports are", i+1)
		}
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(kept)
}
