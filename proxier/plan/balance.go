package plan

import (
	"crypto/sha256"
	"slices"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

const (
	// groupEndpoints is how many endpoints a chain chooses from before the choice is made in two steps or more.
	// With 50 endpoints in one chain, a first packet on nf_tables took 17 us more than to an endpoint directly; in
	// groups of up to 32, 13 us; in groups of up to 16, 10 us, but then each change of a legacy table of 250,000 rules
	// took 15 % longer.
	groupEndpoints = 32
	groupBits      = 4 // at most 16 groups in a chain
)

// A balancer makes the rules that choose among the endpoints of one service port.
type balancer struct {
	out   ruleset.Ruleset
	port  string // namespace/name:port
	proto ipproto.Proto
	// affinity is for how many seconds a client keeps its endpoint; zero: it does not.
	affinity uint32
}

// candidate is an endpoint with its place among the groups.
type candidate struct {
	model.Endpoint
	hash [10]byte
}

// to returns the rule that sends packets to one endpoint.
func (b balancer) to(e model.Endpoint) ruleset.Rule {
	r := ruleset.Rule{Proto: b.proto, Jump: ruleset.DNAT, To: e.Addr}
	if b.affinity > 0 {
		r.Recent = ruleset.Recent{List: b.list(e), Set: true}
	}
	return r
}

// list names the kernel's list of the clients of an endpoint. kube-proxy names it after the endpoint's chain,
// so clients keep their endpoints when one program takes over from the other.
func (b balancer) list(e model.Endpoint) string {
	return ruleset.PrefixEndpoint + ruleset.Hash(b.port, b.proto.String(), e.Addr.String())
}

// again returns the rule that sends a client to the endpoint that it had before.
func (b balancer) again(e model.Endpoint) ruleset.Rule {
	r := b.to(e)
	r.Recent.Check, r.Recent.Seconds = true, b.affinity
	return r
}

// chain returns the rules of a chain that chooses uniformly among the endpoints, and adds the chains below it.
// Endpoints are in the order of model.CompareEndpoints; at least one.
func (b balancer) chain(name string, endpoints []model.Endpoint) []ruleset.Rule {
	candidates := make([]candidate, len(endpoints))
	for i, e := range endpoints {
		candidates[i].Endpoint = e
	}
	if len(candidates) <= groupEndpoints {
		return b.both(name, candidates, false)
	}
	// Groups are made by hash, not by order, so that a changed endpoint changes its own group and not the
	// borders of all.
	for i := range candidates {
		sum := sha256.Sum256([]byte(b.port + b.proto.String() + candidates[i].Addr.String()))
		copy(candidates[i].hash[:], sum[:])
	}
	slices.SortFunc(candidates, func(x, y candidate) int { return slices.Compare(x.hash[:], y.hash[:]) })
	return b.both(name, candidates, true)
}

// both returns the rules for clients that return, and behind them those for the others.
func (b balancer) both(name string, candidates []candidate, grouped bool) []ruleset.Rule {
	rules := b.choosing(name, candidates, grouped)
	if first := b.returning(name, candidates, grouped); len(first) > 0 {
		return append(first, rules...)
	}
	return rules
}

// choosing returns the rules that take each endpoint with the same probability: rule i of n takes one in n-i
// of what is left, a group as many as it has endpoints.
func (b balancer) choosing(name string, candidates []candidate, grouped bool) []ruleset.Rule {
	left := len(candidates)
	groups := divide(candidates, grouped)
	rules := make([]ruleset.Rule, 0, len(groups))
	for _, group := range groups {
		var r ruleset.Rule
		if len(group) == 1 {
			r = b.to(group[0].Endpoint)
		} else {
			r = b.below(name, "", group, b.choosing)
		}
		r.Share = ruleset.NewShare(len(group), left)
		left -= len(group)
		rules = append(rules, r)
	}
	return rules
}

// returning returns the rules that send clients back to the endpoint that they had; none without affinity.
// A single endpoint needs none: it gets everybody anyway.
func (b balancer) returning(name string, candidates []candidate, grouped bool) []ruleset.Rule {
	if b.affinity == 0 || len(candidates) == 1 {
		return nil
	}
	var rules []ruleset.Rule
	for _, group := range divide(candidates, grouped) {
		if len(group) == 1 {
			rules = append(rules, b.again(group[0].Endpoint))
			continue
		}
		rules = append(rules, b.below(name, "returning ", group, b.returning))
	}
	return rules
}

// below adds the chain of one group, with the given kind of rules, and returns the jump to it. The group's chain
// is named after the bits that its endpoints share, so that it stays the same chain while endpoints come and go.
func (b balancer) below(name, kind string, group []candidate, rules func(string, []candidate, bool) []ruleset.Rule) ruleset.Rule {
	bits := group[0].bits().common(group[len(group)-1].bits())
	chain := ruleset.Chain{
		Table: ruleset.Nat,
		Name:  ruleset.PrefixEndpoint + ruleset.Hash(kind, "group of ", name, " ", string(bits.bits[:10]), string(rune(bits.n))),
	}
	b.out[chain] = rules(name, group, len(group) > groupEndpoints)
	return ruleset.Rule{Jump: chain.Name}
}

// bits are the hash as a key that is all address.
func (c candidate) bits() key {
	k := key{n: 80, addr: 128}
	copy(k.bits[:], c.hash[:])
	return k
}

// divide splits candidates, sorted by hash, into groups; without grouped, each is a group of its own, in the
// order in which they stand.
func divide(candidates []candidate, grouped bool) [][]candidate {
	if !grouped {
		each := make([][]candidate, len(candidates))
		for i := range candidates {
			each[i] = candidates[i : i+1]
		}
		return each
	}
	return halve(candidates, 0, groupBits, nil)
}

// halve splits by the first bit in which the hashes differ.
func halve(candidates []candidate, bit uint8, depth int, groups [][]candidate) [][]candidate {
	if len(candidates) <= groupEndpoints || depth == 0 {
		return append(groups, candidates)
	}
	isSet := func(c candidate) bool { return c.hash[bit/8]>>(7-bit%8)&1 == 1 }
	for isSet(candidates[0]) == isSet(candidates[len(candidates)-1]) {
		bit++
	}
	n := slices.IndexFunc(candidates, isSet)
	groups = halve(candidates[:n], bit+1, depth-1, groups)
	return halve(candidates[n:], bit+1, depth-1, groups)
}
