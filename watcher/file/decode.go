package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxNesting bounds lists in lists: each is read once more than the one around it.
const maxNesting = 8

// source is decoded text. It remembers the text, to find the lines of what is in it.
type source struct {
	chunk
	yaml bool
	json []byte // of JSON, it is the text itself
	// repeated says which keys of the YAML stand twice in a mapping; the last one of each counts.
	repeated []string
	marks    []mark // made when the first line is asked for
}

// object is an API object: the JSON from begin to end of its source.
type object struct {
	src        *source
	begin, end int
	typeMeta
}

// typeMeta says what an object is.
type typeMeta struct{ APIVersion, Kind string }

// isList reports whether the type may be a list. A kind of that name need not be one.
func (t typeMeta) isList() bool { return strings.HasSuffix(t.Kind, "List") }

// element returns the type of elements that do not say it: those of a ServiceList are Services. It is zero if
// the type is not a list, or a list of anything.
func (t typeMeta) element() typeMeta {
	kind, ok := strings.CutSuffix(t.Kind, "List")
	if !ok || kind == "" {
		return typeMeta{}
	}
	return typeMeta{t.APIVersion, kind}
}

// decode returns the objects in a document. The error joins all that is wrong; there are no objects then.
func decode(c chunk) ([]object, error) {
	if objs, ok, err := decodeJSON(c); ok {
		return objs, err
	}
	elems, rest, isList := c.elements()
	if isList {
		objs, err := decodeElements(elems, rest)
		if err == nil {
			return objs, nil
		}
		whole, wholeErr := decodeYAML(c)
		if wholeErr != nil {
			return nil, err
		}
		return whole.all() // an anchor in one element has its alias in another
	}
	s, err := decodeYAML(c)
	if err != nil {
		return nil, err
	}
	return s.all()
}

// decodeElements decodes a list that was taken apart.
func decodeElements(elems []chunk, rest chunk) ([]object, error) {
	head, err := decodeYAML(rest)
	if err != nil {
		return nil, err
	}
	list, _, err := head.object(0, len(head.json), typeMeta{})
	if err != nil {
		return nil, err
	}
	if !list.isList() {
		return []object{list}, nil
	}
	var objs []object
	var errs []error
	for _, e := range elems {
		s, err := decodeYAML(e)
		if err == nil {
			var more []object
			more, err = s.objects(0, len(s.json), list.element(), 1)
			objs = append(objs, more...)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return objs, errors.Join(errs...)
}

// all returns all objects in a source.
func (s *source) all() ([]object, error) { return s.objects(0, len(s.json), typeMeta{}, 0) }

// objects returns the object at json[begin:end], or the elements if it is a list. An object that does not say
// what it is, as in typed lists, has the inherited type.
func (s *source) objects(begin, end int, inherited typeMeta, depth int) ([]object, error) {
	switch {
	case depth > maxNesting:
		return nil, fmt.Errorf("%s: lists are nested more than %d deep", s.place(begin), maxNesting)
	case s.json[begin] == '[':
		return s.list(begin, end, inherited, depth)
	case s.json[begin] == 'n':
		return nil, nil // null: an empty document
	case s.json[begin] != '{':
		return nil, fmt.Errorf("%s: this is not an object: %s", s.place(begin), clip(string(s.json[begin:end])))
	}
	o, items, err := s.object(begin, end, inherited)
	if err != nil {
		return nil, err
	}
	if o.isList() && len(items) > 0 && items[0] == '[' {
		b, e := memberOf(s.json[begin:end], "items")
		return s.list(begin+b, begin+e, o.element(), depth)
	}
	if o.Kind == "List" || newTyped(o.element()) != nil {
		if len(items) > 0 && items[0] != 'n' {
			return nil, fmt.Errorf("%s: the items of this %s are not a list", s.place(begin), o.Kind)
		}
		return nil, nil // the list is empty
	}
	return []object{o}, nil
}

// object returns the object at json[begin:end], and its items as they are.
func (s *source) object(begin, end int, inherited typeMeta) (object, json.RawMessage, error) {
	o := object{src: s, begin: begin, end: end}
	var head struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Items      json.RawMessage `json:"items"`
	}
	if err := o.unmarshal(&head); err != nil {
		return object{}, nil, err
	}
	if o.typeMeta = (typeMeta{head.APIVersion, head.Kind}); o.typeMeta == (typeMeta{}) {
		o.typeMeta = inherited
	}
	switch {
	case o.Kind == "":
		return object{}, nil, fmt.Errorf("%s: there is no kind; is it a manifest?", s.place(begin))
	case o.APIVersion == "":
		return object{}, nil, fmt.Errorf("%s: %s has no apiVersion", s.place(begin), clip(o.Kind))
	}
	return o, head.Items, nil
}

// list returns the objects of the array at json[begin:end].
func (s *source) list(begin, end int, inherited typeMeta, depth int) ([]object, error) {
	var objs []object
	var errs []error
	for b, e := range elementsOf(s.json[begin:end]) {
		more, err := s.objects(begin+b, begin+e, inherited, depth+1)
		if err != nil {
			errs = append(errs, err)
		}
		objs = append(objs, more...)
	}
	return objs, errors.Join(errs...)
}
