package delta

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// Show writes what the batch changes of the rules that have shows, for people who know diff: each chain with all of
// its rules, as they are (" "), no longer are ("-") and will be ("+"). Equal batches give equal text, and a batch that
// changes nothing gives none.
func (b Batch) Show(w io.Writer, have ruleset.Ruleset, f ipproto.Family) error {
	s := show{w: bufio.NewWriter(w), family: f, have: have, after: Apply(have, b)}
	for _, c := range b.Touched() {
		s.chain(c)
	}
	if err := s.w.Flush(); err != nil {
		return fmt.Errorf("print changes of %v rules: %w", f, err)
	}
	return nil
}

// Touched returns all chains that the batch changes, built-in ones included, in order.
func (b Batch) Touched() []ruleset.Chain {
	chains := map[ruleset.Chain]bool{}
	for c := range b.Write {
		chains[c] = true
	}
	for _, c := range b.Delete {
		chains[c] = true
	}
	for _, j := range b.Jumps {
		chains[j.From] = true
	}
	for _, j := range b.Unjump {
		chains[j.From] = true
	}
	return slices.SortedFunc(maps.Keys(chains), ruleset.Chain.Compare)
}

type show struct {
	w           *bufio.Writer
	family      ipproto.Family
	have, after ruleset.Ruleset
}

func (s *show) chain(c ruleset.Chain) {
	old, was := s.have[c]
	now, is := s.after[c]
	note := ""
	switch {
	case !ruleset.Owned(c): // the built-in ones are not listed as long as nobody used their table
	case !was:
		note = ", a new chain"
	case !is:
		note = ", a chain that goes"
	}
	fmt.Fprintf(s.w, "@@ %v %s%s @@\n", c.Table, c.Name, note)
	for _, l := range lines(old, now) {
		fmt.Fprintf(s.w, "%c-A %s %s\n", l.sign, c.Name, l.rule.Text(s.family))
	}
}

// line is a rule that stays (' '), goes ('-') or comes ('+').
type line struct {
	sign rune
	rule ruleset.Rule
}

// lines compares two lists by a longest common subsequence of what is between their common beginning and end. Where
// that would be large, nothing of it is taken for common.
func lines(old, now []ruleset.Rule) []line {
	const large = 1 << 22 // cells
	begin := 0
	for begin < min(len(old), len(now)) && old[begin] == now[begin] {
		begin++
	}
	end := 0
	for end < min(len(old), len(now))-begin && old[len(old)-1-end] == now[len(now)-1-end] {
		end++
	}
	a, b := old[begin:len(old)-end], now[begin:len(now)-end]
	var middle []line
	if len(a)*len(b) <= large {
		middle = common(a, b)
	} else {
		middle = slices.Concat(all('-', a), all('+', b))
	}
	return slices.Concat(all(' ', old[:begin]), middle, all(' ', old[len(old)-end:]))
}

func all(sign rune, rules []ruleset.Rule) []line {
	list := make([]line, len(rules))
	for i, r := range rules {
		list[i] = line{sign, r}
	}
	return list
}

// common is the textbook's dynamic programming.
func common(a, b []ruleset.Rule) []line {
	width := len(b) + 1
	longest := make([]int32, (len(a)+1)*width) // of a[i:] and b[j:]
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			longest[i*width+j] = max(longest[(i+1)*width+j], longest[i*width+j+1])
			if a[i] == b[j] {
				longest[i*width+j] = longest[(i+1)*width+j+1] + 1
			}
		}
	}
	var list []line
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			list = append(list, line{' ', a[i]})
			i, j = i+1, j+1
		case longest[(i+1)*width+j] >= longest[i*width+j+1]:
			list = append(list, line{'-', a[i]})
			i++
		default:
			list = append(list, line{'+', b[j]})
			j++
		}
	}
	return slices.Concat(list, all('-', a[i:]), all('+', b[j:]))
}
