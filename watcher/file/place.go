package file

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// place returns "file:line" of the value that stands at an offset in the source's JSON.
func (s *source) place(offset int) string {
	return fmt.Sprintf("%s:%d", s.file, s.lineAt(offset))
}

func (o object) place() string { return o.src.place(o.begin) }

// lineAt returns the line in the file of the value that stands at an offset in the source's JSON. For YAML,
// this reads the text again, now with positions: it is done for messages only.
func (s *source) lineAt(offset int) int {
	if !s.yaml {
		return s.line + bytes.Count(s.text[:offset], []byte("\n"))
	}
	path := pathAt(s.json, offset)
	root, err := parseNodes(s.text)
	if err != nil || len(root.Content) == 0 {
		return s.line
	}
	n := root.Content[0]
	for _, step := range path {
		next := child(n, step)
		if next == nil {
			break
		}
		n = next
	}
	return s.line + n.Line - 1
}

func parseNodes(doc []byte) (root yamlv3.Node, err error) {
	defer recovered(&err)
	err = yamlv3.Unmarshal(doc, &root)
	return root, err
}

// child returns the element or the value to which a step leads; nil: there is none, as with merged mappings.
func child(n *yamlv3.Node, step any) *yamlv3.Node {
	if n.Kind == yamlv3.AliasNode {
		n = n.Alias
	}
	switch step := step.(type) {
	case int:
		if n.Kind == yamlv3.SequenceNode && step < len(n.Content) {
			return n.Content[step]
		}
	case string:
		for i := len(n.Content) - 2; n.Kind == yamlv3.MappingNode && i >= 0; i -= 2 {
			if n.Content[i].Value == step {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

// path leads to a value in JSON: its steps are the keys (string) and the indices (int) on the way.
type path []any

// String returns the path as messages of the API server have it: "spec.ports[0].port".
func (p path) String() string {
	var b strings.Builder
	for _, step := range p {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(clip(step))
		}
	}
	return b.String()
}

// fields returns the path without its indices.
func (p path) fields() string {
	var fields path
	for _, step := range p {
		if _, ok := step.(string); ok {
			fields = append(fields, step)
		}
	}
	return fields.String()
}

// pathAt returns the path to the value, or to the key of the value, of which the byte at offset is a part. data
// is valid JSON.
func pathAt(data []byte, offset int) path {
	dec := json.NewDecoder(bytes.NewReader(data))
	var p path
	var objects []bool // for each step of p: it is a key, and not an index
	next := func() {   // steps on from a value that has ended
		if n := len(p); n > 0 && objects[n-1] {
			p[n-1] = nil // the key is still to come
		} else if n > 0 {
			p[n-1] = p[n-1].(int) + 1
		}
	}
	for {
		tok, err := dec.Token()
		if err != nil {
			return nil
		}
		n := len(p)
		isKey := n > 0 && p[n-1] == nil && tok != json.Delim('}')
		if isKey {
			p[n-1] = tok
		}
		closes := tok == json.Delim('}') || tok == json.Delim(']')
		if closes {
			p, objects = p[:n-1], objects[:n-1]
		}
		if int(dec.InputOffset()) > offset {
			return p
		}
		switch {
		case isKey:
		case tok == json.Delim('{'):
			p, objects = append(p, nil), append(objects, true)
		case tok == json.Delim('['):
			p, objects = append(p, 0), append(objects, false)
		default:
			next()
		}
	}
}
