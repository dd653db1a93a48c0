package delta

import (
	"maps"
	"slices"

	"espalier/proxier/ruleset"
)

// Steps returns the batches that make the chains of have what want says, to be written one after the other. Mostly it is the
// one that Between returns. If the filter table both gains verdicts and loses some, it is two: no order of the tables is right
// for both, so those that go stay until the second one. See Between on the order.
func Steps(have, want ruleset.Ruleset) []Batch {
	only := Between(have, want)
	if gains, loses := only.verdicts(have); !gains || !loses {
		return []Batch{only}
	}
	first := Between(have, only.lingering(have, want))
	return []Batch{first, Between(Apply(have, first), want)}
}

// lingering returns want with all that the filter table decides about before the batch: in each chain, what was there comes
// after what is new, and so do the jumps to what was there. It refuses no packet that one of both would not have refused.
func (b Batch) lingering(have, want ruleset.Ruleset) ruleset.Ruleset {
	out := maps.Clone(want)
	for c, rules := range b.Write {
		if c.Table != ruleset.Filter {
			continue
		}
		for _, r := range have[c] {
			if r.Jump != ruleset.Return && !slices.Contains(rules, r) {
				out[c] = append(slices.Clip(out[c]), r)
			}
		}
	}
	for _, c := range b.Delete {
		if c.Table == ruleset.Filter {
			out[c] = have[c]
		}
	}
	return out
}
