package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// maxChunk bounds a YAML document that cannot be taken apart, in bytes, before and after the expansion of its
// aliases: decoding takes up to a hundred times as much memory. An API server refuses objects above 3 MiB.
const maxChunk = 8 << 20

// decodeYAML turns one YAML document into JSON, as kubectl does: YAML 1.1, in which yes and on are booleans.
func decodeYAML(c chunk) (*source, error) {
	if len(c.text) > maxChunk {
		return nil, fmt.Errorf("%s:%d: a document of %d MiB is too large; split it with lines of ---, or write its list as kubectl does",
			c.file, c.line, len(c.text)>>20)
	}
	s := &source{chunk: c, yaml: true}
	if err := s.convert(); err != nil {
		return nil, s.yamlError(err)
	}
	return s, nil
}

// convert sets s.json.
func (s *source) convert() (err error) {
	defer recovered(&err)
	if err := checkAliases(s.text); err != nil {
		return err
	}
	if isFlow(content(s.text)) {
		if err := checkEnd(s.text); err != nil {
			return err
		}
	}
	s.json, err = yaml.YAMLToJSONStrict(s.text)
	if repeated, ok := errors.AsType[*yamlv2.TypeError](err); ok {
		for _, text := range repeated.Errors[:min(maxErrors, len(repeated.Errors))] {
			s.repeated = append(s.repeated, s.relocate(text))
		}
		s.json, err = yaml.YAMLToJSON(s.text)
	}
	return err
}

// recovered turns a panic into an error. The YAML parsers have had panics before (CVE-2022-28948), and one bad
// file must not end the process that keeps the node's rules in force.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the YAML parser gave up: %v", r)
	}
}

// checkAliases refuses a document that would grow beyond maxChunk. The parser itself only bounds how many
// aliases it follows, and not how long the strings are that they stand for.
func checkAliases(doc []byte) error {
	if !mayHaveAliases(doc) {
		return nil
	}
	var root yamlv3.Node
	if err := yamlv3.Unmarshal(doc, &root); err != nil {
		return err
	}
	sizes := map[*yamlv3.Node]int{}
	if expanded(&root, sizes) > maxChunk {
		return fmt.Errorf("its aliases expand to more than %d MiB, or without end", maxChunk>>20)
	}
	return nil
}

// mayHaveAliases reports whether there is something like *name. An asterisk in a text may look like it, too.
func mayHaveAliases(doc []byte) bool {
	for at := 0; ; at++ {
		i := bytes.IndexByte(doc[at:], '*')
		if i < 0 {
			return false
		}
		at += i
		if at == 0 || strings.IndexByte(" \t\r\n[{,:?-", doc[at-1]) >= 0 {
			return true
		}
	}
}

// expanded estimates the size of a node as JSON, with all aliases replaced by what they stand for. sizes has
// the nodes that are known already, and those that contain the node, with a size beyond all bounds: an alias of
// one of those never ends.
func expanded(n *yamlv3.Node, sizes map[*yamlv3.Node]int) int {
	if n == nil {
		return 0
	}
	if size, ok := sizes[n]; ok {
		return size
	}
	sizes[n] = maxChunk + 1
	size := len(n.Value) + 4
	if n.Kind == yamlv3.AliasNode {
		size = expanded(n.Alias, sizes)
	}
	for _, child := range n.Content {
		size = min(size+expanded(child, sizes), maxChunk+1)
	}
	sizes[n] = size
	return size
}

// checkEnd refuses text behind a document in braces, which the decoder would ignore without a word.
func checkEnd(doc []byte) error {
	dec := yamlv2.NewDecoder(bytes.NewReader(doc))
	for n := 0; ; n++ {
		var value any
		switch err := dec.Decode(&value); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n > 0:
			return errors.New("there is more text behind the closing brace")
		}
	}
}

// yamlError names file and line of an error of the parser.
func (s *source) yamlError(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if !strings.HasPrefix(text, "line ") { // the first line, or it does not know
		return fmt.Errorf("%s:%d: %s", s.file, s.line, text)
	}
	return errors.New(s.relocate(text))
}

// relocate replaces the line at the beginning of a message, which counts from the beginning of the chunk, by file
// and line.
func (s *source) relocate(text string) string {
	number, message, _ := strings.Cut(strings.TrimPrefix(text, "line "), ": ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return text
	}
	if strings.HasPrefix(message, "did not find expected") {
		n++ // of these errors the parser gives the line above the one that it stumbled over
	}
	n = min(n, bytes.Count(bytes.TrimSpace(s.text), []byte("\n"))+1) // the end is on a line of its own
	return fmt.Sprintf("%s:%d: %s", s.file, s.line+n-1, message)
}
