package iptables

import (
	"bytes"
	"errors"
	"strings"
)

// errFound ends the writing of an input whose line was found.
var errFound = errors.New("line found")

// finder is a writer that looks for one line. The input of a large restore is not kept: when a line is
// refused, it is written a second time, to here.
type finder struct {
	want int    // number of the line, from 1
	jump string // if that line is a COMMIT: the first rule of its table that jumps there is meant

	n    int    // lines so far
	rest []byte // of a line that is not complete

	line      string // the result
	candidate string
	at        int // number of candidate
}

func (f *finder) Write(b []byte) (int, error) {
	size := len(b)
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			f.rest = append(f.rest, b...)
			return size, nil
		}
		f.rest = append(f.rest, b[:i]...)
		b = b[i+1:]
		f.n++
		if f.see(string(f.rest)) {
			return 0, errFound
		}
		f.rest = f.rest[:0]
	}
}

// see looks at a complete line; true if it is the one.
func (f *finder) see(line string) bool {
	switch {
	case strings.HasPrefix(line, "*"):
		f.candidate = ""
	case f.jump != "" && f.candidate == "" && strings.HasSuffix(line, " -j "+f.jump):
		f.candidate, f.at = line, f.n
	}
	if f.n != f.want {
		return false
	}
	f.line = line
	if line == "COMMIT" && f.candidate != "" {
		f.line, f.n = f.candidate, f.at
	}
	return true
}
