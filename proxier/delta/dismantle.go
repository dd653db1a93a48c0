package delta

import (
	"slices"

	"espalier/proxier/ruleset"
)

// Dismantle returns the batch that removes the chains of rs, whether the kernel has them or not: a chain that is
// declared before it is removed need not have been there. Nothing else may refer to them.
func Dismantle(rs ruleset.Ruleset) Batch {
	chains := leavesFirst(rs)
	slices.Reverse(chains)
	return Batch{Delete: chains}
}
