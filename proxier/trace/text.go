package trace

import (
	"fmt"
	"strings"

	"espalier/proxier/ipproto"
)

// String returns what becomes of the packet, and how likely: "DNAT to 10.0.1.1:80, masqueraded (33.33 %)".
func (o Outcome) String() string {
	var b strings.Builder
	b.WriteString(o.Verdict.String())
	if o.Verdict == DNAT {
		b.WriteString(" to " + o.To.String())
	}
	if o.Masquerade {
		b.WriteString(", masqueraded")
	}
	if o.Probability < 1-1e-9 {
		fmt.Fprintf(&b, " (%.4g %%)", 100*o.Probability)
	}
	return b.String()
}

// Text returns the path for an operator, one line for each rule that matched: the table, the chain with the
// place of the rule in it, as iptables -L --line-numbers counts, and the rule as iptables-save has it, more or
// less. Chains are indented by how deep the jump to them is nested.
func (p Path) Text(f ipproto.Family) string {
	steps, width := p.Steps(), 0
	for _, s := range steps {
		width = max(width, len(s.place()))
	}
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.line(width, f))
	}
	return b.String()
}

// Text returns the step as one line of a path.
func (s Step) Text(f ipproto.Family) string { return strings.TrimSuffix(s.line(0, f), "\n") }

func (s Step) line(width int, f ipproto.Family) string {
	return fmt.Sprintf("%-6s  %-*s  %s\n", s.Chain.Table, width, s.place(), s.Rule.Text(f))
}

func (s Step) place() string {
	indent := strings.Repeat("  ", s.Depth)
	if s.Index < 0 {
		return indent + s.Chain.Name + " policy"
	}
	return fmt.Sprintf("%s%s %d", indent, s.Chain.Name, s.Index+1)
}
