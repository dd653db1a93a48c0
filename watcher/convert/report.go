package convert

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// report collects what is wrong with one object.
type report struct {
	object   string
	problems []model.Problem
}

// newReport starts the report on an object of the given kind. Its name may be anything.
func newReport(kind, namespace, name string) *report {
	object := namespace + "/" + name
	if namespace == "" {
		object = name
	}
	if quoted := strconv.Quote(object); quoted != `"`+object+`"` || object == "" {
		object = quoted
	}
	return &report{object: kind + " " + object}
}

// add notes a problem: field, what is wrong with it and what follows.
func (r *report) add(field, format string, args ...any) {
	r.problems = append(r.problems, model.Problem{Object: r.object, Text: field + ": " + fmt.Sprintf(format, args...)})
}

// names checks the names of the object itself. They end up in comments and chain names.
func (r *report) names(namespace, name string, check func(string) []string, follows string) bool {
	ok := true
	if msgs := validation.IsDNS1123Label(namespace); len(msgs) > 0 {
		r.add("metadata.namespace", "%q is not a namespace: %s; %s", clip(namespace), msgs[0], follows)
		ok = false
	}
	if msgs := check(name); len(msgs) > 0 {
		r.add("metadata.name", "%q is not a name: %s; %s", clip(name), msgs[0], follows)
		ok = false
	}
	return ok
}

// portKey checks name and protocol of a port; the protocol is TCP unless something else is said.
func (r *report) portKey(field, name, protocol string) (model.PortKey, bool) {
	if name != "" {
		if msgs := validation.IsDNS1123Label(name); len(msgs) > 0 {
			r.add(field+".name", "%q is not a port name: %s; the port is left out", clip(name), msgs[0])
			return model.PortKey{}, false
		}
	}
	proto := ipproto.TCP
	if protocol != "" {
		var err error
		if proto, err = ipproto.ParseProto(protocol); err != nil {
			r.add(field+".protocol", "%q is not TCP, UDP or SCTP; the port is left out", clip(protocol))
			return model.PortKey{}, false
		}
	}
	return model.PortKey{Name: name, Proto: proto}, true
}

// port checks a port number.
func (r *report) port(field string, n int32) (uint16, bool) {
	if n < 1 || n > 65535 {
		r.add(field, "%d is not a port number from 1 to 65535; the port is left out", n)
		return 0, false
	}
	return uint16(n), true
}
