package plugins

import (
	"slices"
	"strings"
)

// A placing says how the hooks of a plugin get into a built-in chain: what iptables-restore is told, given the rules
// that stand there (without the policy) and the hooks in their order.
type placing func(chain string, stand []string, hooks []Hook) []string

// appendMissing leaves what is there where it is, and puts the rest at the end.
func appendMissing(chain string, stand []string, hooks []Hook) (edits []string) {
	for _, h := range hooks {
		if !slices.Contains(stand, h.Rule) {
			edits = append(edits, "-A "+chain+" "+h.Rule)
		}
	}
	return edits
}

// prependMissing leaves what is there where it is, and puts the rest at the top.
func prependMissing(chain string, stand []string, hooks []Hook) (edits []string) {
	for _, h := range slices.Backward(hooks) {
		if !slices.Contains(stand, h.Rule) {
			edits = append(edits, "-I "+chain+" "+h.Rule)
		}
	}
	return edits
}

// appendAlways moves all of them to the end.
func appendAlways(chain string, stand []string, hooks []Hook) []string {
	return append(without(chain, stand, hooks), appendMissing(chain, nil, hooks)...)
}

// appendAnew moves all of them to the end, unless all are there.
func appendAnew(chain string, stand []string, hooks []Hook) []string {
	if len(missing(stand, hooks)) == 0 {
		return nil
	}
	return append(without(chain, stand, hooks), appendMissing(chain, nil, hooks)...)
}

// topAnew moves all of them to the top, unless all are there.
func topAnew(chain string, stand []string, hooks []Hook) []string {
	if len(missing(stand, hooks)) == 0 {
		return nil
	}
	return append(without(chain, stand, hooks), prependMissing(chain, nil, hooks)...)
}

// insist moves all of them to the top, and those that belong there to the end, unless they stand right there.
func insist(chain string, stand []string, hooks []Hook) []string {
	var top, end []Hook
	for _, h := range hooks {
		if h.Last {
			end = append(end, h)
		} else {
			top = append(top, h)
		}
	}
	if len(stand) >= len(hooks) && slices.Equal(stand[:len(top)], texts(top)) && slices.Equal(stand[len(stand)-len(end):], texts(end)) {
		return nil
	}
	edits := without(chain, stand, hooks)
	edits = append(edits, prependMissing(chain, nil, top)...)
	return append(edits, appendMissing(chain, nil, end)...)
}

func texts(hooks []Hook) (rules []string) {
	for _, h := range hooks {
		rules = append(rules, h.Rule)
	}
	return rules
}

func missing(stand []string, hooks []Hook) []Hook {
	return slices.DeleteFunc(slices.Clone(hooks), func(h Hook) bool { return slices.Contains(stand, h.Rule) })
}

// without takes away those that stand there, however often.
func without(chain string, stand []string, hooks []Hook) (edits []string) {
	rules := texts(hooks)
	for _, r := range stand {
		if slices.Contains(rules, r) {
			edits = append(edits, "-D "+chain+" "+r)
		}
	}
	return edits
}

// write makes the plugin's chains what they should be, and places its hooks, in one input.
func (k kernel) write(r Rules, place placing) error {
	edits, err := k.edits(r, place)
	if err != nil {
		return err
	}
	return k.restore(r.input(edits))
}

// add makes the chains that are not there, and appends the rules that are missing in those that are.
func (k kernel) add(r Rules, place placing) error {
	saved, err := k.save()
	if err != nil {
		return err
	}
	edits, err := k.edits(r, place)
	if err != nil {
		return err
	}
	fresh := Rules{Chains: map[Chain][]string{}, Hooks: r.Hooks}
	for _, table := range r.tables() {
		var more []string
		for _, c := range r.of(table) {
			stand, there := saved[c]
			if !there {
				fresh.Chains[c] = r.Chains[c]
				continue
			}
			for _, rule := range r.Chains[c] {
				if !slices.Contains(stand, rule) {
					more = append(more, "-A "+c.Name+" "+rule)
				}
			}
		}
		edits[table] = append(more, edits[table]...)
	}
	return k.restore(fresh.input(edits))
}

// edits are those that a placing makes in all built-in chains, by table.
func (k kernel) edits(r Rules, place placing) (map[string][]string, error) {
	saved, err := k.save()
	if err != nil {
		return nil, err
	}
	edits := map[string][]string{}
	for _, c := range r.hooked() {
		stand := slices.DeleteFunc(slices.Clone(saved[c]), func(rule string) bool { return strings.HasPrefix(rule, "policy ") })
		hooks := slices.DeleteFunc(slices.Clone(r.Hooks), func(h Hook) bool { return h.In != c })
		edits[c.Table] = append(edits[c.Table], place(c.Name, stand, hooks)...)
	}
	return edits, nil
}

// hooked are the built-in chains that the plugin has rules in.
func (r Rules) hooked() (chains []Chain) {
	for _, h := range r.Hooks {
		if !slices.Contains(chains, h.In) {
			chains = append(chains, h.In)
		}
	}
	return chains
}

// remove takes hooks and chains away. What is not there is fine.
func (k kernel) remove(r Rules) error {
	edits, err := k.edits(r, without)
	if err != nil {
		return err
	}
	empty := Rules{Chains: map[Chain][]string{}, Hooks: r.Hooks}
	for c := range r.Chains {
		empty.Chains[c] = nil // or it could not be deleted while another one refers to it
		edits[c.Table] = append(edits[c.Table], "-X "+c.Name)
	}
	return k.restore(empty.input(edits))
}
