package file

import (
	"fmt"
	"slices"
	"strings"
)

// notes counts what an operator should know although nothing is wrong, so that a thousand objects are one line.
// The zero value is ready for use.
type notes struct {
	skipped map[typeMeta]tally
	ignored map[field]tally
}

// tally counts objects.
type tally struct {
	first object
	n     int
}

// field is a field of a kind.
type field struct{ kind, path string }

// skip counts an object of a type that is not read.
func (n *notes) skip(o object) {
	if n.skipped == nil {
		n.skipped = map[typeMeta]tally{}
	}
	n.skipped[o.typeMeta] = n.skipped[o.typeMeta].plus(o)
}

// ignore counts a field that nobody knows; text is the JSON decoder's, such as `unknown field "spec.foo"`.
func (n *notes) ignore(o object, text string) {
	if n.ignored == nil {
		n.ignored = map[field]tally{}
	}
	f := field{o.Kind, withoutIndices(text)}
	n.ignored[f] = n.ignored[f].plus(o)
}

func (t tally) plus(o object) tally {
	if t.n++; t.n == 1 {
		t.first = o
	}
	return t
}

// lines returns a line for each type that was skipped, and for each field that was ignored.
func (n *notes) lines() []string {
	var lines []string
	for t, tally := range n.skipped {
		line := fmt.Sprintf("%s (%s): %d skipped, the first at %s", clip(t.Kind), clip(t.APIVersion), tally.n, tally.first.place())
		if version := versionOf(t.Kind); version != "" {
			line += "; of this kind, only " + version + " is read"
		}
		lines = append(lines, line)
	}
	for f, tally := range n.ignored {
		line := fmt.Sprintf("%s: %s is ignored, the first at %s", f.kind, clip(f.path), tally.first.place())
		if tally.n > 1 {
			line += fmt.Sprintf(", %d in all", tally.n)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// withoutIndices makes the same of ports[0] and ports[1]: ports[].
func withoutIndices(text string) string {
	var b strings.Builder
	digits := false // behind a bracket
	for _, c := range text {
		if digits = c == '[' || digits && c >= '0' && c <= '9'; !digits || c == '[' {
			b.WriteRune(c)
		}
	}
	return b.String()
}
