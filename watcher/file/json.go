package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
)

// decodeJSON returns the objects in a run of JSON values, with or without space between them. It returns false
// if the text is not JSON. As YAML, too, may begin with a brace, that is all text whose first value is not JSON,
// except in a file whose name says it is.
func decodeJSON(c chunk) (objs []object, ok bool, err error) {
	body := content(c.text)
	if !isFlow(body) {
		return nil, false, nil
	}
	s := &source{chunk: c, json: c.text}
	skipped := len(c.text) - len(body)
	dec := json.NewDecoder(bytes.NewReader(body))
	for first := true; ; first = false {
		begin := int(dec.InputOffset())
		var value json.RawMessage
		err := dec.Decode(&value)
		switch {
		case errors.Is(err, io.EOF):
			return objs, true, nil
		case err != nil && first && filepath.Ext(c.file) != ".json":
			return nil, false, nil
		case err != nil:
			return nil, true, s.syntaxError(skipped + begin)
		}
		end := skipped + int(dec.InputOffset())
		more, err := s.objects(end-len(value), end, typeMeta{}, 0)
		if err != nil {
			return nil, true, err
		}
		objs = append(objs, more...)
	}
}

// syntaxError describes what is wrong with the JSON value that begins in s.json at begin or behind it.
func (s *source) syntaxError(begin int) error {
	var value json.RawMessage
	err := json.Unmarshal(s.json[begin:], &value)
	at := len(s.json) - 1
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && int(syntax.Offset) <= len(s.json)-begin {
		at = begin + int(syntax.Offset) - 1
	}
	return fmt.Errorf("%s: %w", s.place(at), err)
}

// content returns a document without the marker and the white space before its content.
func content(doc []byte) []byte {
	doc = bytes.TrimLeft(doc, " \t\r\n")
	if isMarker(doc, "---") {
		doc = bytes.TrimLeft(doc[len("---"):], " \t\r\n")
	}
	return doc
}

// isFlow reports whether content is JSON, or YAML that looks like it.
func isFlow(content []byte) bool {
	return len(content) > 0 && (content[0] == '{' || content[0] == '[')
}

// memberOf returns where the value of a key of an object begins and ends; the last one, if there are several.
// data is valid JSON.
func memberOf(data []byte, key string) (begin, end int) {
	dec := json.NewDecoder(bytes.NewReader(data))
	_, err := dec.Token() // the opening brace
	for err == nil && dec.More() {
		var name json.Token
		if name, err = dec.Token(); err != nil {
			break
		}
		var value json.RawMessage
		if err = dec.Decode(&value); err == nil && name == key {
			end = int(dec.InputOffset())
			begin = end - len(value)
		}
	}
	return begin, end
}

// elementsOf yields where the elements of an array begin and end. data is valid JSON.
func elementsOf(data []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		dec := json.NewDecoder(bytes.NewReader(data))
		_, err := dec.Token() // the opening bracket
		for err == nil && dec.More() {
			var element json.RawMessage
			if err = dec.Decode(&element); err != nil {
				return
			}
			if end := int(dec.InputOffset()); !yield(end-len(element), end) {
				return
			}
		}
	}
}

// clip shortens foreign text for a message.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
