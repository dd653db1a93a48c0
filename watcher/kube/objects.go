package kube

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"espalier/proxier/model"
	"espalier/watcher/convert"
)

// serviceSink passes Services to the Tracker.
func serviceSink(c Config) *sink[model.ServiceName, []*model.Service] {
	s := newSink[model.ServiceName, []*model.Service]()
	s.read = func(obj any) (it item[model.ServiceName, []*model.Service], err error) {
		o, ok := obj.(*corev1.Service)
		if !ok {
			return it, fmt.Errorf("the API server sent a %T for a Service", obj)
		}
		it.key = model.ServiceName{Namespace: o.Namespace, Name: o.Name}
		it.value, it.problems = convert.Service(o)
		it.serve = len(it.value) > 0
		return it, nil
	}
	s.object = func(n model.ServiceName) string { return "Service " + n.String() }
	s.set = func(name model.ServiceName, perFamily []*model.Service) { c.Tracker.SetService(name, perFamily...) }
	s.remove = c.Tracker.DeleteService
	return s
}

// change is a slice with the time because of which it is as it is; the zero time is no time. The Tracker, which
// keeps the slice, does not keep the time.
type change struct {
	slice   *model.Slice
	trigger time.Time
}

// sliceSink passes EndpointSlices to the Tracker.
func sliceSink(c Config) *sink[model.SliceName, change] {
	s := newSink[model.SliceName, change]()
	options := convert.Options{NodeName: c.NodeName}
	s.read = func(obj any) (it item[model.SliceName, change], err error) {
		o, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok {
			return it, fmt.Errorf("the API server sent a %T for an EndpointSlice", obj)
		}
		it.key = model.SliceName{Namespace: o.Namespace, Name: o.Name}
		it.value.trigger = convert.Trigger(o)
		it.value.slice, it.problems = convert.Slice(o, options)
		it.serve = it.value.slice != nil
		return it, nil
	}
	s.object = func(n model.SliceName) string { return "EndpointSlice " + n.Namespace + "/" + n.Name }
	s.set = func(_ model.SliceName, is change) { c.Tracker.SetSliceSince(is.slice, is.trigger) }
	s.remove = c.Tracker.DeleteSlice
	return s
}

// nodeSink passes the own Node to n.
func nodeSink(n *node) *sink[string, convert.NodeFacts] {
	s := newSink[string, convert.NodeFacts]()
	s.read = func(obj any) (it item[string, convert.NodeFacts], err error) {
		o, ok := obj.(*corev1.Node)
		if !ok {
			return it, fmt.Errorf("the API server sent a %T for a Node", obj)
		}
		it.key, it.value = o.Name, convert.Node(o)
		it.serve = o.Name == n.name // a server may ignore the selector
		return it, nil
	}
	s.object = func(name string) string { return "Node " + name }
	s.set, s.remove = n.set, n.remove
	return s
}
