package file

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher"
	"espalier/watcher/convert"
)

// maxErrors bounds what one reading says about broken documents.
const maxErrors = 20

// interpret makes a cluster of the text of a reading. It depends on nothing else.
func interpret(in input, o convert.Options) (Result, error) {
	r := newReading(o)
	var errs []error
	for _, f := range in.files {
		if err := checkBreaks(f); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, doc := range documents(f) {
			objs, err := decode(doc)
			if err != nil {
				errs = append(errs, err)
			}
			for _, obj := range objs {
				if err := r.add(obj); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}
	if len(errs) > 0 {
		return Result{}, bounded(errs)
	}
	return r.finish(in.notices), nil
}

// bounded joins errors, which may be joined themselves, up to maxErrors of them.
func bounded(errs []error) error {
	var flat []error
	for _, err := range errs {
		if joined, ok := errors.AsType[interface {
			error
			Unwrap() []error
		}](err); ok {
			flat = append(flat, joined.Unwrap()...)
		} else {
			flat = append(flat, err)
		}
	}
	if n := len(flat); n > maxErrors {
		flat = append(flat[:maxErrors:maxErrors], fmt.Errorf("and %d more errors", n-maxErrors))
	}
	return errors.Join(flat...)
}

// reading collects the objects of one reading.
type reading struct {
	options convert.Options
	result  Result
	seen    map[identity]object
	// sliced are the Services with an EndpointSlice; endpoints wait until these are known.
	sliced    map[model.ServiceName]bool
	endpoints []*corev1.Endpoints
	nodes     []string // names of Nodes, for the message that the own one is not among them
	notes     notes
}

// identity tells objects apart.
type identity struct{ kind, namespace, name string }

func newReading(o convert.Options) *reading {
	return &reading{
		options: o,
		result: Result{State: watcher.State{
			Services: map[model.ServiceName][]*model.Service{},
			Slices:   map[model.SliceName]*model.Slice{},
			Nodes:    map[ipproto.Family]model.Node{},
			Eligible: true, // nobody removes a node that is not of a cluster
		}},
		seen:   map[identity]object{},
		sliced: map[model.ServiceName]bool{},
	}
}

// add takes an object in, or counts it as skipped. The error says which field has the wrong type.
func (r *reading) add(o object) error {
	typed := newTyped(o.typeMeta)
	if typed == nil {
		r.notes.skip(o)
		return nil
	}
	warnings, err := o.unmarshalStrict(typed)
	if err != nil {
		return err
	}
	if typed.GetNamespace() == "" && o.Kind != "Node" {
		typed.SetNamespace(metav1.NamespaceDefault)
	}
	r.warn(o, typed, warnings)
	id := identity{o.Kind, typed.GetNamespace(), typed.GetName()}
	if first, ok := r.seen[id]; ok && id.name != "" {
		r.problem(o, typed, "it is there twice, at %s and at %s; the first one counts", first.place(), o.place())
		return nil
	}
	r.seen[id] = o
	switch typed := typed.(type) {
	case *corev1.Service:
		r.addService(o, typed)
	case *discoveryv1.EndpointSlice:
		r.addSlice(typed)
	case *corev1.Endpoints:
		r.endpoints = append(r.endpoints, typed)
	case *corev1.Node:
		r.addNode(typed)
	}
	return nil
}

// warn reports fields that are lost: of those that are there twice, one is probably wrong. Unknown ones are
// counted only, as all objects of a newer cluster may have them.
func (r *reading) warn(o object, typed metav1.Object, warnings []error) {
	for _, text := range o.src.repeated {
		r.problem(o, typed, "%s; the last one counts", text)
	}
	o.src.repeated = nil
	for _, w := range warnings {
		if text := w.Error(); strings.HasPrefix(text, "duplicate") {
			r.problem(o, typed, "%s: %s; the last one counts", o.place(), text)
		} else {
			r.notes.ignore(o, text)
		}
	}
}

func (r *reading) problem(o object, typed metav1.Object, format string, args ...any) {
	r.result.Problems = append(r.result.Problems, model.Problem{
		Object: nameOf(o.Kind, typed.GetNamespace(), typed.GetName()),
		Text:   fmt.Sprintf(format, args...),
	})
}

func (r *reading) addService(o object, s *corev1.Service) {
	setIPFamilies(s)
	if ip, ips := s.Spec.ClusterIP, s.Spec.ClusterIPs; ip != "" && len(ips) > 0 && ip != ips[0] {
		r.problem(o, s, "spec.clusterIP: %s is not %s, the first of spec.clusterIPs, which counts", clip(ip), clip(ips[0]))
	}
	perFamily, problems := convert.Service(s)
	const field = "spec.clusterIP: "
	for i := range problems {
		if s.Spec.ClusterIP == "" && strings.HasPrefix(problems[i].Text, field) {
			problems[i].Text = field + "there is no address, and only an API server could assign one; write one into the manifest, " +
				"or take it from `kubectl get -o yaml`. The Service is left out"
		}
	}
	r.result.Problems = append(r.result.Problems, problems...)
	if len(perFamily) > 0 {
		r.result.State.Services[perFamily[0].Name] = perFamily
	}
}

func (r *reading) addSlice(s *discoveryv1.EndpointSlice) {
	slice, problems := convert.Slice(s, r.options)
	r.result.Problems = append(r.result.Problems, problems...)
	if slice != nil {
		r.result.State.Slices[slice.Name] = slice
		r.sliced[slice.Service] = true
	}
}

func (r *reading) addNode(n *corev1.Node) {
	if n.Name != r.options.NodeName || n.Name == "" {
		r.nodes = append(r.nodes, n.Name)
		return
	}
	r.result.NodeFound = true
	facts := convert.Node(n)
	r.result.State.Eligible = !facts.Leaving
	for _, f := range ipproto.Families {
		r.result.State.Nodes[f] = facts.For(f)
	}
}

// finish adds the Endpoints that no EndpointSlice replaces, and the notices.
func (r *reading) finish(notices []string) Result {
	replaced := 0
	for _, e := range r.endpoints {
		if r.sliced[model.ServiceName{Namespace: e.Namespace, Name: e.Name}] {
			replaced++
			continue
		}
		parts, problems := convert.Endpoints(e, r.options)
		r.result.Problems = append(r.result.Problems, problems...)
		for _, part := range parts {
			r.result.State.Slices[part.Name] = part
		}
	}
	notices = append(notices, r.notes.lines()...)
	if replaced > 0 {
		notices = append(notices, fmt.Sprintf("Endpoints: %d not used, as their Services have EndpointSlices", replaced))
	}
	if !r.result.NodeFound {
		notices = append(notices, missingNode(r.options.NodeName, r.nodes))
	}
	r.result.Notices = notices
	return r.result
}

// missingNode says that the own Node is not there, and what to do.
func missingNode(name string, others []string) string {
	if name == "" {
		return "Node: this node has no name, so that no endpoint is local; --hostname-override gives it one"
	}
	line := fmt.Sprintf("Node: %q is not among the manifests, so that its zone, addresses and pod CIDR are unknown; ", name)
	const most = 3
	switch n := len(others); {
	case n == 0:
		return line + "there is no Node at all. --hostname-override sets the name of this node"
	case n > most:
		return line + fmt.Sprintf("there are %s and %d more. --hostname-override sets the name of this node",
			clip(strings.Join(others[:most], ", ")), n-most)
	}
	return line + fmt.Sprintf("there is %s. --hostname-override sets the name of this node", clip(strings.Join(others, ", ")))
}
