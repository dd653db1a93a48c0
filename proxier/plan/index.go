package plan

import (
	"slices"

	"espalier/proxier/model"
)

// An index holds the entries of one tree so that an entry is found, added and removed in as many steps as its
// key has bits at most: a binary radix tree. Every inner node has two branches, so its shape is a function of the
// set of keys alone.
type index struct {
	root *node
	// contested has the keys that several claims are made to.
	contested map[key]*node
}

// A node is a leaf with the claims to one key, or a branch at the first bit in which the keys below it differ.
type node struct {
	key       key // of a leaf; of a branch: all that the keys below have in common, so key.n is where they part
	count     int // leaves below; 1 for a leaf
	zero, one *node
	claims    []claim // of a leaf: the first one wins
}

// A claim is an entry that a Service wants to have in the tree.
type claim struct {
	owner model.ServiceName
	entry entry
}

func (n *node) leaf() bool { return n.zero == nil }

// entry returns what a leaf stands for.
func (n *node) entry() *entry { return &n.claims[0].entry }

// add enters a claim. Among several claims to a key the one of the Service that comes first by name wins, and
// among those of one Service the one that was added first.
func (x *index) add(c claim) {
	k := c.entry.key
	at := &x.root
	for *at != nil && (*at).key.covers(k) && !(*at).leaf() {
		n := *at
		n.count++ // taken back below if the key turns out to be there
		at = n.branch(k)
	}
	switch n := *at; {
	case n == nil:
		*at = newLeaf(c)
	case n.leaf() && n.key == k:
		x.recount(k, -1)
		i, _ := slices.BinarySearchFunc(n.claims, c.owner, func(have claim, owner model.ServiceName) int {
			if have.owner.Compare(owner) <= 0 {
				return -1
			}
			return 1
		})
		n.claims = slices.Insert(n.claims, i, c)
		if x.contested == nil {
			x.contested = map[key]*node{}
		}
		x.contested[k] = n
	default:
		*at = newBranch(n, newLeaf(c))
	}
}

// remove takes back all claims of a Service to a key.
func (x *index) remove(k key, owner model.ServiceName) {
	at, above := &x.root, (**node)(nil)
	for *at != nil && !(*at).leaf() && (*at).key.covers(k) {
		above, at = at, (*at).branch(k)
	}
	n := *at
	if n == nil || n.key != k {
		return
	}
	n.claims = slices.DeleteFunc(n.claims, func(c claim) bool { return c.owner == owner })
	if len(n.claims) < 2 {
		delete(x.contested, k)
	}
	if len(n.claims) > 0 {
		return
	}
	if above == nil {
		x.root = nil
		return
	}
	x.recount(k, -1)
	other := (*above).zero
	if other == n {
		other = (*above).one
	}
	*above = other
}

// recount adds to the counts of all branches above the leaf of k.
func (x *index) recount(k key, by int) {
	for n := x.root; !n.leaf(); n = *n.branch(k) {
		n.count += by
	}
}

func newLeaf(c claim) *node { return &node{key: c.entry.key, count: 1, claims: []claim{c}} }

// newBranch joins two nodes of which none covers the other.
func newBranch(a, b *node) *node {
	k := a.key.cut(a.key.firstDifference(b.key))
	if a.key.bit(k.n) == 1 {
		a, b = b, a
	}
	return &node{key: k, count: a.count + b.count, zero: a, one: b}
}

// branch returns the branch below which the key is, or would be.
func (n *node) branch(k key) **node {
	if k.bit(n.key.n) == 0 {
		return &n.zero
	}
	return &n.one
}

// leaves adds the leaves below the node to list, in the order of their keys.
func (n *node) leaves(list []*node) []*node {
	if n == nil {
		return list
	}
	if n.leaf() {
		return append(list, n)
	}
	return n.one.leaves(n.zero.leaves(list))
}

// find returns the leaf of a key; nil if there is none.
func (x *index) find(k key) *node {
	n := x.root
	for n != nil && !n.leaf() && n.key.covers(k) {
		n = *n.branch(k)
	}
	if n == nil || n.key != k {
		return nil
	}
	return n
}
