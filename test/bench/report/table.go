package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// group are the runs that are compared with each other: same size, same backend, one for each proxy.
type group struct {
	size    Size
	backend string
	runs    []Run
}

// groups returns the runs by size and backend, in the order in which they were made.
func (r Report) groups() []group {
	var list []group
next:
	for _, run := range r.Runs {
		for i := range list {
			if list[i].size == run.Size && list[i].backend == run.Backend {
				list[i].runs = append(list[i].runs, run)
				continue next
			}
		}
		list = append(list, group{run.Size, run.Backend, []Run{run}})
	}
	return list
}

// lines returns the table of a group: a title and a text for each run. What none has measured is left out.
// Behind numbers of other proxies stands how many times those of the first they are.
func (g group) lines() [][]string {
	var lines [][]string
	for _, row := range rows() {
		line := []string{row.title}
		var first cell
		measured := false
		for i, run := range g.runs {
			c := row.cell(run)
			if i == 0 {
				first = c
			}
			text := c.text
			if i > 0 && c.number > 0 && first.number > 0 {
				text += " (" + ratio(c.number, first.number) + ")"
			}
			measured = measured || text != ""
			line = append(line, text)
		}
		if measured {
			lines = append(lines, line)
		}
	}
	return lines
}

// WriteTable prints everything for a terminal.
func (r Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Machine)
	for _, g := range r.groups() {
		head := []string{fmt.Sprintf("%s, iptables-%s", g.size, g.backend)}
		for _, run := range g.runs {
			head = append(head, run.Proxy)
		}
		b.WriteString("\n")
		writeColumns(&b, append([][]string{head}, g.lines()...))
		for _, run := range g.runs {
			if run.Broken != "" {
				fmt.Fprintf(&b, "%s: %s\n", run.Proxy, run.Broken)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeColumns aligns the first column to the left and the others to the right.
func writeColumns(b *strings.Builder, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, text := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	for _, line := range lines {
		var text strings.Builder
		for i, word := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(word))
			if i == 0 {
				text.WriteString(word + pad)
			} else {
				text.WriteString("   " + pad + word)
			}
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
}
