package bench

import (
	"fmt"
	"io"
)

// Progress tells how far the measurement is: one line for each stage. On a terminal, the line of a stage is there
// from its beginning and is replaced at its end.
type Progress struct {
	Out      io.Writer
	Terminal bool
}

// Begin says what is going on.
func (p *Progress) Begin(format string, args ...any) {
	if p.Terminal {
		fmt.Fprintf(p.Out, "\r\x1b[K%s …", fmt.Sprintf(format, args...))
	}
}

// End says what came out.
func (p *Progress) End(format string, args ...any) {
	if p.Terminal {
		fmt.Fprint(p.Out, "\r\x1b[K")
	}
	fmt.Fprintln(p.Out, fmt.Sprintf(format, args...))
}
