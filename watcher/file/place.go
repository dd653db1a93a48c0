package file

import (
	"fmt"
	"slices"
	"sort"

	yamlv3 "go.yaml.in/yaml/v3"
)

// place returns "file:line" of the value that stands at an offset in the source's JSON.
func (s *source) place(offset int) string {
	return fmt.Sprintf("%s:%d", s.file, s.lineAt(offset))
}

func (o object) place() string { return o.src.place(o.begin) }

// lineAt returns the line in the file of the value that stands at an offset in the source's JSON.
func (s *source) lineAt(offset int) int {
	if s.marks == nil {
		s.marks = s.mark()
	}
	i := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].end > offset })
	if i == len(s.marks) {
		return s.line
	}
	return s.line + s.marks[i].line - 1
}

// mark says that the part of a source's JSON before end, and behind the end of the mark before, stands in a line
// of its text; the first line is 1.
type mark struct{ end, line int }

// mark marks the lines of JSON, or the values of YAML. For these it reads the text again, now with positions,
// so it is done for messages only; and just once, as there may be many.
func (s *source) mark() []mark {
	var marks []mark
	if !s.yaml {
		for at, line := range lines(s.text) {
			marks = append(marks, mark{at + len(line), len(marks) + 1})
		}
		return marks
	}
	root, err := parseNodes(s.text)
	if err != nil || len(root.Content) == 0 {
		return []mark{}
	}
	nodes := []*yamlv3.Node{root.Content[0]} // those on the way to a value
	members := map[*yamlv3.Node]map[string]*yamlv3.Node{}
	for end, p := range walk(s.json) {
		if n := len(p); n > 0 {
			nodes = append(nodes[:n], child(nodes[n-1], p[n-1], members))
		}
		marks = append(marks, mark{end, nodes[len(p)].Line})
	}
	return marks
}

func parseNodes(doc []byte) (root yamlv3.Node, err error) {
	defer recovered(&err)
	err = yamlv3.Unmarshal(doc, &root)
	return root, err
}

// child returns the element or the value to which a step leads, or n itself if there is none in it, as of merged
// mappings. members has the mappings that were asked before.
func child(n *yamlv3.Node, step any, members map[*yamlv3.Node]map[string]*yamlv3.Node) *yamlv3.Node {
	in := n
	if in.Kind == yamlv3.AliasNode {
		in = in.Alias
	}
	switch step := step.(type) {
	case int:
		if in.Kind == yamlv3.SequenceNode && step < len(in.Content) {
			return in.Content[step]
		}
	case string:
		if in.Kind != yamlv3.MappingNode {
			break
		}
		byKey, ok := members[in]
		if !ok {
			byKey = map[string]*yamlv3.Node{}
			for pair := range slices.Chunk(in.Content, 2) {
				byKey[pair[0].Value] = pair[len(pair)-1]
			}
			members[in] = byKey
		}
		if value, ok := byKey[step]; ok {
			return value
		}
	}
	return n
}
