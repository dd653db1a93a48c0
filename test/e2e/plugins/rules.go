package plugins

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// Rules are those of one plugin in one family.
type Rules struct {
	Chains map[Chain][]string // its own, with their rules
	Hooks  []Hook             // its rules in built-in chains, in the order in which they stand
}

// Chain names a chain of a table.
type Chain struct{ Table, Name string }

// Hook is a rule in a built-in chain.
type Hook struct {
	In   Chain
	Rule string // what iptables-save prints after "-A CHAIN "
	// Last: it belongs at the end of the chain, whatever the plugin does with its other hooks.
	Last bool
}

// builtIn are the chains of the kernel.
var builtIn = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// parse reads rules that are written as for iptables-restore. What is appended to a built-in chain is a hook, and
// "-A! CHAIN" one that belongs at its end.
func parse(text string) (Rules, error) {
	r := Rules{Chains: map[Chain][]string{}}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		name, rule, _ := strings.Cut(rest, " ")
		in := Chain{table, name}
		switch {
		case line == "" || strings.HasPrefix(line, "#") || line == "COMMIT":
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":"):
			r.Chains[Chain{table, verb[1:]}] = nil
		case (verb == "-A" || verb == "-A!") && slices.Contains(builtIn, name):
			r.Hooks = append(r.Hooks, Hook{in, identify(name, rule), verb == "-A!"})
		case verb == "-A":
			if _, declared := r.Chains[in]; !declared {
				return r, fmt.Errorf("the rules put %q into a chain that they do not declare", line)
			}
			r.Chains[in] = append(r.Chains[in], identify(name, rule))
		default:
			return r, fmt.Errorf("the rules have a line that is not understood: %q", line)
		}
	}
	return r, nil
}

// expand fills in a template of rules.
func expand(text string, v any) (Rules, error) {
	t, err := template.New("rules").Parse(text)
	if err != nil {
		return Rules{}, fmt.Errorf("read the template of rules: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, v); err != nil {
		return Rules{}, fmt.Errorf("fill in the template of rules: %w", err)
	}
	return parse(out.String())
}

// idMark stands in a rule where Calico writes the identity of the rule.
const idMark = "@id@"

// identify replaces it by a comment that depends on what the rule says and where it stands.
func identify(chain, rule string) string {
	if !strings.Contains(rule, idMark) {
		return rule
	}
	sum := sha256.Sum256([]byte(chain + " " + rule))
	id := base64.RawURLEncoding.EncodeToString(sum[:12])
	return strings.Replace(rule, idMark, `-m comment --comment "cali:`+id+`"`, 1)
}

// input is what iptables-restore --noflush is given to make the chains what they should be, and the edits of the
// built-in chains.
func (r Rules) input(edits map[string][]string) string {
	var out strings.Builder
	for _, table := range r.tables() {
		chains := r.of(table)
		if len(chains)+len(edits[table]) == 0 {
			continue
		}
		out.WriteString("*" + table + "\n")
		for _, c := range chains {
			out.WriteString(":" + c.Name + " - [0:0]\n")
		}
		for _, c := range chains {
			for _, rule := range r.Chains[c] {
				out.WriteString("-A " + c.Name + " " + rule + "\n")
			}
		}
		for _, edit := range edits[table] {
			out.WriteString(edit + "\n")
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}

// tables are those that the rules are in, in the order in which a packet meets them.
func (r Rules) tables() (tables []string) {
	for _, t := range []string{"raw", "mangle", "nat", "filter", "security"} {
		hooked := slices.ContainsFunc(r.Hooks, func(h Hook) bool { return h.In.Table == t })
		if hooked || len(r.of(t)) > 0 {
			tables = append(tables, t)
		}
	}
	return tables
}

// of returns the chains of a table, sorted.
func (r Rules) of(table string) (chains []Chain) {
	for c := range r.Chains {
		if c.Table == table {
			chains = append(chains, c)
		}
	}
	slices.SortFunc(chains, func(a, b Chain) int { return strings.Compare(a.Name, b.Name) })
	return chains
}
