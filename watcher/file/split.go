package file

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
)

// chunk is a piece of a file that is decoded at once: a YAML document, an element of a list, or a run of JSON.
type chunk struct {
	file string
	line int // of the first line of text; the first line of a file is 1
	text []byte
}

// documents splits a file at its document markers. The marker "---" belongs to the document that it opens: the
// rest of its line may already be content.
//
// The scanner of YAML takes a marker in column one for a marker wherever it stands, also in a quoted string or
// a block of text, and in JSON it cannot occur. So looking at the beginnings of lines is enough.
func documents(t text) []chunk {
	var docs []chunk
	doc := chunk{file: t.name, line: 1}
	start, n := 0, 0
	flush := func(end int) {
		if doc.text = t.data[start:end]; !blank(doc.text) {
			docs = append(docs, doc)
		}
		start = end
	}
	for at, line := range lines(t.data) {
		n++
		switch {
		case isMarker(line, "---"):
			flush(at)
			doc.line = n
		case isMarker(line, "..."):
			flush(at + len(line))
			doc.line = n + 1
		}
	}
	flush(len(t.data))
	return docs
}

// oddBreaks end a line in YAML 1.1, but for lines they do not: a carriage return alone, the next line of C1, and
// the line and paragraph separators of Unicode.
func oddBreaks() []string { return []string{"\r", "\u0085", "\u2028", "\u2029"} }

// checkBreaks refuses what documents would overlook: a marker behind an odd line break. YAML sees the marker, and
// what follows it would be lost without a word.
func checkBreaks(t text) error {
	for _, lineBreak := range oddBreaks() {
		for _, marker := range []string{"---", "..."} {
			if at := bytes.Index(t.data, []byte(lineBreak+marker)); at >= 0 {
				return fmt.Errorf("%s:%d: the line before %s ends with %+q; use line feeds",
					t.name, 1+bytes.Count(t.data[:at], []byte("\n")), marker, lineBreak)
			}
		}
	}
	return nil
}

// hasOddBreaks reports whether lines sees other lines than YAML.
func hasOddBreaks(data []byte) bool {
	for _, lineBreak := range oddBreaks()[1:] {
		if bytes.Contains(data, []byte(lineBreak)) {
			return true
		}
	}
	return bytes.Count(data, []byte("\r")) != bytes.Count(data, []byte("\r\n"))
}

// blank reports whether there is nothing in a document but comments and directives (%YAML 1.2).
func blank(doc []byte) bool {
	for _, line := range lines(doc) {
		if isMarker(line, "---") {
			line = line[len("---"):]
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && !isMarker(line, "...") {
			return false
		}
	}
	return true
}

// elements takes the document apart if it is a list as kubectl prints it: a mapping whose key items has a block
// sequence. It returns the elements, each still with its dash, which makes it a list of one, and the document
// without them. Decoding the elements one by one needs little memory, and each error finds its line.
//
// It looks at indentation only. An element that began or ended elsewhere (in a string of several lines that
// looks like an element) would have a string that does not end, and could not be decoded.
func (c chunk) elements() (elems []chunk, rest chunk, ok bool) {
	if hasOddBreaks(c.text) {
		return nil, chunk{}, false
	}
	key, start, end := c.items()
	body := c.text[start:end]
	var begins []int // where the elements begin in body
	indent := -1     // of the dashes
	for at, line := range lines(body) {
		in, content := indentation(line)
		switch {
		case len(content) == 0 || content[0] == '#': // belongs to the element that it stands in
		case isMarker(content, "-") && (in == indent || indent < 0):
			indent = in
			begins = append(begins, at)
			begins[0] = 0 // with the comments above it
		case indent < 0 || in <= indent: // not a block sequence
			return nil, chunk{}, false
		}
	}
	line := c.line + bytes.Count(c.text[:start], []byte("\n"))
	for i, from := range begins {
		to := len(body)
		if i+1 < len(begins) {
			to = begins[i+1]
		}
		elems = append(elems, chunk{c.file, line, body[from:to]})
		line += bytes.Count(body[from:to], []byte("\n"))
	}
	return elems, chunk{c.file, c.line, slices.Concat(c.text[:key], c.text[end:])}, len(elems) > 0
}

// items finds the top-level key items. It returns where its line begins, where the lines below it begin, and
// where the next key begins. All are zero if there is not exactly one such key.
func (c chunk) items() (key, start, end int) {
	found, open := false, false
	for at, line := range lines(c.text) {
		switch in, content := indentation(line); {
		case in == 0 && isItems(line):
			if found {
				return 0, 0, 0
			}
			found, open = true, true
			key, start, end = at, at+len(line), len(c.text)
		case open && in == 0 && len(content) > 0 && content[0] != '#' && !isMarker(content, "-"):
			open, end = false, at
		}
	}
	return key, start, end
}

// isItems reports whether the line is the key items of a top-level mapping, with its value on the lines below.
func isItems(line []byte) bool {
	value, ok := bytes.CutPrefix(line, []byte("items:"))
	if !ok {
		return false
	}
	rest := bytes.TrimSpace(value)
	return len(rest) == 0 || rest[0] == '#' && value[0] != '#'
}

// isMarker reports whether the line begins with the word, followed by white space or nothing.
func isMarker(line []byte, word string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(word))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// indentation returns how many spaces the line begins with, and what follows them: nothing in a line of white
// space.
func indentation(line []byte) (int, []byte) {
	content := bytes.TrimLeft(line, " ")
	n := len(line) - len(content)
	if len(bytes.TrimSpace(content)) == 0 {
		content = nil
	}
	return n, content
}

// lines yields the lines of data, each with its line break, and where they begin.
func lines(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		at := 0
		for line := range bytes.Lines(data) {
			if !yield(at, line) {
				return
			}
			at += len(line)
		}
	}
}
