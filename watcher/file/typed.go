package file

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// newTyped returns the Go value to decode an object into; nil: the type is not read.
func newTyped(t typeMeta) metav1.Object {
	if t.Kind == "" || t.APIVersion != versionOf(t.Kind) {
		return nil
	}
	switch t.Kind {
	case "Service":
		return new(corev1.Service)
	case "EndpointSlice":
		return new(discoveryv1.EndpointSlice)
	case "Endpoints":
		return new(corev1.Endpoints)
	case "Node":
		return new(corev1.Node)
	}
	return nil
}

// versionOf returns the apiVersion in which a kind is read; empty: it is not read.
func versionOf(kind string) string {
	switch kind {
	case "Service", "Endpoints", "Node":
		return corev1.SchemeGroupVersion.String()
	case "EndpointSlice":
		return discoveryv1.SchemeGroupVersion.String()
	}
	return ""
}

func (o object) data() []byte { return o.src.json[o.begin:o.end] }

// unmarshal decodes the object as an API server would: names of fields are case sensitive.
func (o object) unmarshal(into any) error {
	if err := kjson.UnmarshalCaseSensitivePreserveInts(o.data(), into); err != nil {
		return o.typeError(err)
	}
	return nil
}

// unmarshalStrict also returns what an API server would warn of: unknown and repeated fields.
func (o object) unmarshalStrict(into any) (warnings []error, err error) {
	warnings, err = kjson.UnmarshalStrict(o.data(), into)
	if err != nil {
		return nil, o.typeError(err)
	}
	return warnings, nil
}

// String returns kind and name as far as they can be read, for messages.
func (o object) String() string {
	var head struct {
		Metadata struct{ Name, Namespace string } `json:"metadata"`
	}
	_ = json.Unmarshal(o.data(), &head) // what is broken is reported by others
	if o.Kind == "" {
		return "the object"
	}
	if o.Kind == "Node" {
		return nameOf(o.Kind, "", head.Metadata.Name)
	}
	return nameOf(o.Kind, cmp.Or(head.Metadata.Namespace, metav1.NamespaceDefault), head.Metadata.Name)
}

// nameOf returns kind and name as kubectl takes them, "Service shop/web", on one line whatever the names are.
func nameOf(kind, namespace, name string) string {
	object := name
	if namespace != "" {
		object = namespace + "/" + name
	}
	if quoted := strconv.Quote(object); quoted != `"`+object+`"` || object == "" {
		object = quoted
	}
	return kind + " " + object
}

// typeError describes a field of the wrong type, with its line.
func (o object) typeError(err error) error {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return fmt.Errorf("%s: %s: %s", o.place(), o, strings.TrimPrefix(err.Error(), "json: "))
	}
	place, field := o.place(), wrong.Field
	// The offset is that of the end of the value, except within types that decode themselves. The field has no
	// indices, and no keys of maps.
	if p := pathAt(o.data(), int(wrong.Offset)-1); strings.HasPrefix(p.fields()+".", wrong.Field+".") {
		place, field = o.src.place(o.begin+int(wrong.Offset)-1), p.String()
	}
	if field == "" {
		field = "it"
	}
	hint := ""
	if o.src.yaml && wrong.Type.Kind() == reflect.String && wrong.Value != "array" && wrong.Value != "object" {
		hint = "; put it in quotes" // in YAML, no, on and y are booleans, and 1.10 is a number
	}
	return fmt.Errorf("%s: %s: %s is %s, want %s%s", place, o, field, got(wrong.Value), want(wrong.Type), hint)
}

// got puts a JSON type into words.
func got(value string) string {
	switch value {
	case "string", "number":
		return "a " + value
	case "bool":
		return "true or false"
	case "array":
		return "a list"
	case "object":
		return "a mapping"
	}
	return "the " + value // number 99999999999
}

// want puts a Go type into words.
func want(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping"
	case reflect.Int32:
		return "a whole number of at most 32 bits"
	case reflect.Int64, reflect.Int:
		return "a whole number"
	}
	return t.String()
}
