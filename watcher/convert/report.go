package convert

import (
	"fmt"
	"strconv"

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

// names checks the names of the object itself, which must be DNS labels: they end up in comments and hashes.
func (r *report) names(namespace, name, follows string) bool {
	return r.namespace(namespace, follows) && r.label("metadata.name", name, follows)
}

func (r *report) namespace(name, follows string) bool {
	return r.label("metadata.namespace", name, follows)
}

// label checks that the text of a field is a DNS label.
func (r *report) label(field, text, follows string) bool {
	if !isLabel(text) {
		r.add(field, "%q is not a DNS label: %s; %s", clip(text), wantLabel, follows)
		return false
	}
	return true
}

// portKey checks name and protocol of a port; the protocol is TCP unless something else is said.
func (r *report) portKey(field, name, protocol string) (model.PortKey, bool) {
	if name != "" && !r.label(field+".name", name, "the port is left out") {
		return model.PortKey{}, false
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

// port checks a port number. follows says what happens without one.
func (r *report) port(field string, n int32, follows string) (uint16, bool) {
	if n < 1 || n > 65535 {
		r.add(field, "%d is not a port number from 1 to 65535; %s", n, follows)
		return 0, false
	}
	return uint16(n), true
}
