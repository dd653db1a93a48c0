package file

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
)

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

// pathAt returns the path to the value of which the byte at offset is a part. data is valid JSON.
func pathAt(data []byte, offset int) path {
	for end, p := range walk(data) {
		if end > offset {
			return slices.Clone(p)
		}
	}
	return nil
}

// walk yields, for each token of valid JSON, where it ends, and the path to the value that it begins, ends or
// is; a key belongs to its value. The path is valid until the next token.
func walk(data []byte) iter.Seq2[int, path] {
	return func(yield func(int, path) bool) {
		dec := json.NewDecoder(bytes.NewReader(data))
		var p path          // its last step is nil while a key is still to come
		var inObject []bool // for each step: it is a key
		for {
			tok, err := dec.Token()
			if err != nil {
				return // the end
			}
			n := len(p)
			isKey := n > 0 && p[n-1] == nil && tok != json.Delim('}')
			switch {
			case isKey:
				p[n-1] = tok
			case tok == json.Delim('}'), tok == json.Delim(']'):
				p, inObject = p[:n-1], inObject[:n-1]
			}
			if !yield(int(dec.InputOffset()), p) {
				return
			}
			switch {
			case isKey:
				continue
			case tok == json.Delim('{'):
				p, inObject = append(p, nil), append(inObject, true)
				continue
			case tok == json.Delim('['):
				p, inObject = append(p, 0), append(inObject, false)
				continue
			}
			// A value has ended: on to the next one next to it.
			if n := len(p); n > 0 && inObject[n-1] {
				p[n-1] = nil
			} else if n > 0 {
				p[n-1] = p[n-1].(int) + 1
			}
		}
	}
}
