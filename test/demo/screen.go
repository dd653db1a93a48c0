package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A screen prints the demo for a human: with colours on a terminal, plainly elsewhere.
type screen struct {
	w      io.Writer
	colour bool
	steps  int
}

func newScreen(f *os.File) *screen {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &screen{w: f, colour: err == nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// The colours in use (ECMA-48, SGR).
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// step begins a new part of the demo.
func (s *screen) step(format string, args ...any) {
	s.steps++
	title := fmt.Sprintf("%d. ", s.steps) + fmt.Sprintf(format, args...)
	_, _ = fmt.Fprintf(s.w, "\n%s\n", s.paint(bold, title))
}

// say prints a line of what is going on.
func (s *screen) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.w, "   "+format+"\n", args...)
}

// command prints a command as somebody would type it on the machine.
func (s *screen) command(on *machine, format string, args ...any) {
	_, _ = fmt.Fprintf(s.w, "   %s\n", s.paint(cyan, on.name+" $ "+fmt.Sprintf(format, args...)))
}

// detail prints something to look at, not necessarily to read.
func (s *screen) detail(line string) {
	_, _ = fmt.Fprintf(s.w, "     %s\n", s.paint(faint, line))
}

// promise prints whether something that had to be so is so. If not, it returns that as an error.
func (s *screen) promise(kept bool, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if kept {
		s.say("%s %s", s.paint(green, "ok"), what)
		return nil
	}
	s.say("%s %s", s.paint(red, "NOT SO:"), what)
	return fmt.Errorf("promised, but not so: %s", what)
}

// chart prints how many requests each pod answered.
func (s *screen) chart(tally map[string]int) {
	const width = 40
	most, sum := 0, 0
	for _, n := range tally {
		most, sum = max(most, n), sum+n
	}
	for _, name := range slices.Sorted(maps.Keys(tally)) {
		n := tally[name]
		bar := strings.Repeat("█", n*width/max(most, 1))
		s.say("  %-12s %s %d (%.0f %%)", name, s.paint(green, fmt.Sprintf("%-*s", width, bar)), n, 100*float64(n)/float64(max(sum, 1)))
	}
}
