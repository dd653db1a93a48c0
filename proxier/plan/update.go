package plan

import (
	"maps"
	"slices"

	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// An update is one step of a Planner. It notes which chains the touched part of the plan had before and has
// after: what only was before goes.
type update struct {
	*Planner
	out           Change
	places        map[place]bool
	before, after map[ruleset.Chain]bool
	// below has, of each node that was visited, the nodes with the chains below that of the node.
	below map[*node][]*node
}

func newUpdate(p *Planner) *update {
	return &update{
		Planner: p,
		out:     Change{Write: ruleset.Ruleset{}, New: map[ruleset.Chain]bool{}},
		places:  map[place]bool{},
		before:  map[ruleset.Chain]bool{},
		after:   map[ruleset.Chain]bool{},
	}
}

// run puts what Services contribute into the plan.
func (u *update) run(planned map[model.ServiceName]*contribution) Change {
	for name, c := range planned {
		u.touch(name, c)
	}
	for _, pl := range u.touched() {
		u.visitBefore(pl)
	}
	for name, c := range planned {
		u.replace(name, c)
	}
	for _, pl := range u.touched() {
		u.visitAfter(pl)
	}
	u.fixed()
	u.finish()
	return u.out
}

// first plans a whole cluster where there was none: nothing has to be compared, and every chain is written.
func (u *update) first(services map[model.ServiceName]model.Entry) Change {
	u.services = make(map[model.ServiceName]footprint, len(services))
	for name, e := range services {
		u.replace(name, u.plan(e))
	}
	for id := range u.trees {
		u.all(u.tree(treeID(id)), u.trees[id].root)
	}
	u.fixed()
	return u.out
}

// all writes the chains below that of n.
func (u *update) all(t tree, n *node) {
	for _, below := range n.chains() {
		u.write(t.chainOf(below), t.chain(below))
		u.all(t, below)
	}
}

// planAll plans each of some Services.
func (p *Planner) planAll(services map[model.ServiceName]model.Entry) map[model.ServiceName]*contribution {
	planned := make(map[model.ServiceName]*contribution, len(services))
	for name, e := range services {
		planned[name] = p.plan(e)
	}
	return planned
}

// plan plans one Service; nothing if there is none.
func (p *Planner) plan(e model.Entry) *contribution {
	if e.Service == nil {
		return &contribution{}
	}
	return contribute(e, p.node, p.family, p.cfg)
}

// lingering returns what Services contribute while they still have the verdicts that they are about to lose; nil if there is
// no need for that, as they lose none or no Service gains any.
func (p *Planner) lingering(planned map[model.ServiceName]*contribution) map[model.ServiceName]*contribution {
	gains, lost := false, map[model.ServiceName][]place{}
	for name, c := range planned {
		had, has := p.services[name].places, c.places()
		gains = gains || len(newVerdicts(had, has)) > 0
		if gone := newVerdicts(has, had); len(gone) > 0 {
			lost[name] = gone
		}
	}
	if !gains || len(lost) == 0 {
		return nil
	}
	linger := maps.Clone(planned)
	for name, places := range lost {
		c := *planned[name]
		for _, pl := range places {
			for _, claim := range p.trees[pl.tree].find(pl.key).claims {
				if claim.owner == name {
					c.entries[pl.tree] = append(slices.Clip(c.entries[pl.tree]), claim.entry)
				}
			}
		}
		linger[name] = &c
	}
	return linger
}

// places returns where the entries are.
func (c *contribution) places() (all []place) {
	for id, entries := range c.entries {
		for _, e := range entries {
			all = append(all, place{treeID(id), e.key})
		}
	}
	return all
}

// newVerdicts returns where there is a verdict now and was none.
func newVerdicts(had, has []place) (all []place) {
	for _, pl := range has {
		if pl.tree.verdicts() && !slices.Contains(had, pl) {
			all = append(all, pl)
		}
	}
	return all
}

// touch notes the places in trees that a Service had or will have.
func (u *update) touch(name model.ServiceName, c *contribution) {
	for _, pl := range u.services[name].places {
		u.places[pl] = true
	}
	for _, pl := range c.places() {
		u.places[pl] = true
	}
}

// touched returns the places, and forgets which nodes were visited.
func (u *update) touched() []place {
	u.below = map[*node][]*node{}
	return slices.Collect(maps.Keys(u.places))
}

// visitBefore notes the chains on the way to a place, and their branches, before the tree changes.
func (u *update) visitBefore(pl place) {
	t := u.tree(pl.tree)
	for n := u.trees[pl.tree].root; n != nil; n = next(u.below[n], pl.key) {
		if _, visited := u.below[n]; visited {
			continue
		}
		u.below[n] = n.chains()
		for _, below := range u.below[n] {
			u.before[t.chainOf(below)] = true
		}
	}
}

// next returns the node that the key belongs below; nil if there is none.
func next(nodes []*node, k key) *node {
	i := slices.IndexFunc(nodes, func(n *node) bool { return n.key.expressible().covers(k) })
	if i < 0 {
		return nil
	}
	return nodes[i]
}

// visitAfter notes the chains on the way to a place, and their branches, with their rules where they may have
// changed: on the way itself, and in chains that did not exist, because entries moved into them.
func (u *update) visitAfter(pl place) {
	t := u.tree(pl.tree)
	root := u.trees[pl.tree].root
	for n := root; n != nil; n = next(u.below[n], pl.key) {
		if _, visited := u.below[n]; visited {
			continue
		}
		if n != root {
			u.write(t.chainOf(n), t.chain(n))
		}
		u.branches(t, n)
	}
}

// branches notes the chains below that of n. A chain that did exist has the rules that it had, unless some other
// place is below it.
func (u *update) branches(t tree, n *node) {
	u.below[n] = n.chains()
	for _, below := range u.below[n] {
		chain := t.chainOf(below)
		u.after[chain] = true
		if _, existed := u.prints[chain]; !existed {
			u.write(chain, t.chain(below))
			u.branches(t, below)
		}
	}
}

// replace puts what a Service contributes into the plan, in place of what it had there.
func (u *update) replace(name model.ServiceName, c *contribution) {
	had := u.services[name]
	for _, pl := range had.places {
		u.trees[pl.tree].remove(pl.key, name)
	}
	has := footprint{chains: make([]ruleset.Chain, 0, len(c.chains)), places: c.places()}
	for id, entries := range c.entries {
		for _, e := range entries {
			u.trees[id].add(claim{owner: name, entry: e})
		}
	}
	u.out.Refuses = u.out.Refuses || len(newVerdicts(had.places, has.places)) > 0
	u.out.Serves = u.out.Serves || len(newVerdicts(has.places, had.places)) > 0
	for chain, rules := range c.chains {
		u.after[chain] = true
		u.write(chain, rules)
		has.chains = append(has.chains, chain)
	}
	for _, chain := range had.chains {
		u.before[chain] = true
	}
	if len(has.chains)+len(has.places) == 0 {
		delete(u.services, name)
		return
	}
	u.services[name] = has
}

// write notes the rules of a chain, unless they are what it had.
func (u *update) write(c ruleset.Chain, rules []ruleset.Rule) {
	now := u.print(rules)
	had, existed := u.prints[c]
	if existed && had == now {
		return
	}
	if !existed {
		u.out.New[c] = true
	}
	u.prints[c] = now
	u.rules[c.Table] += now.rules - had.rules
	u.out.Write[c] = rules
}

// finish lists the chains that are gone.
func (u *update) finish() {
	for c := range u.before {
		if !u.after[c] {
			u.rules[c.Table] -= u.prints[c].rules
			delete(u.prints, c)
			u.out.Delete = append(u.out.Delete, c)
		}
	}
	slices.SortFunc(u.out.Delete, ruleset.Chain.Compare)
}
