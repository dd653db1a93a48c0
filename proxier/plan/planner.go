package plan

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// A Planner is a plan that follows its cluster: after a change it looks at the Services that changed, at their
// chains, and at the few chains of the trees above them. Whatever the order of changes, it says the same as Plan
// says of the final cluster.
//
// It remembers entries of trees and, of each chain, no more than a print.
type Planner struct {
	family   ipproto.Family
	cfg      Config
	node     model.Node
	trees    [numTrees]index
	services map[model.ServiceName]footprint
	prints   map[ruleset.Chain]print
	rules    map[ruleset.Table]int
	seeds    [2]maphash.Seed
}

// A footprint is what a Service has in the plan.
type footprint struct {
	chains []ruleset.Chain
	places []place
}

type place struct {
	tree treeID
	key  key
}

// A print stands for the rules of a chain: two hashes, so that a change is never taken for none, and their number.
type print struct {
	hash  [2]uint64
	rules int
}

// A Change says how the plan differs from before.
type Change struct {
	// Write has the chains that are new or have other rules; New tells the new ones.
	Write ruleset.Ruleset
	New   map[ruleset.Chain]bool
	// Delete has the chains that are no longer in the plan, sorted.
	Delete []ruleset.Chain
	// Refuses and Serves: the filter table has verdicts that it did not have, or lacks some that it had.
	Refuses, Serves bool
}

// NewPlanner returns a Planner that has planned nothing.
func NewPlanner(f ipproto.Family) *Planner {
	return &Planner{
		family:   f,
		services: map[model.ServiceName]footprint{},
		prints:   map[ruleset.Chain]print{},
		rules:    map[ruleset.Table]int{},
		seeds:    [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
}

// Reset plans a whole cluster, whatever the Planner knew before.
func (p *Planner) Reset(s model.Snapshot, cfg Config) Change {
	p.cfg, p.node = cfg, s.Node
	services := s.Services
	if len(p.services) > 0 {
		services = maps.Clone(services)
		for name := range p.services {
			if _, kept := services[name]; !kept {
				services[name] = model.Entry{}
			}
		}
	}
	u := newUpdate(p)
	if len(p.prints) == 0 {
		return u.first(services)
	}
	for c := range p.prints {
		u.before[c] = true
	}
	return u.run(p.planAll(services))
}

// Update plans the given Services anew; one without a Service is gone. If the node or the configuration changed,
// the Planner must be Reset.
//
// Mostly it is one Change. It is two, to be written one after the other, if the filter table both gains verdicts and loses
// some: those that go stay until the second one, so that neither has to be written before and after the nat table; see
// package delta.
func (p *Planner) Update(services map[model.ServiceName]model.Entry) []Change {
	planned := p.planAll(services)
	var changes []Change
	if linger := p.lingering(planned); linger != nil {
		changes = append(changes, newUpdate(p).run(linger))
	}
	return append(changes, newUpdate(p).run(planned))
}

// Rules returns how many rules the plan has in the table.
func (p *Planner) Rules(t ruleset.Table) int { return p.rules[t] }

// Services returns how many Services have something in the plan.
func (p *Planner) Services() int { return len(p.services) }

// Problems returns what Services cannot have because others have it.
func (p *Planner) Problems() []model.Problem {
	var problems []model.Problem
	for id := range p.trees {
		if treeID(id).shared() {
			continue
		}
		for k, n := range p.trees[id].contested {
			first := n.claims[0].owner
			for _, c := range n.claims[1:] {
				if c.owner == first {
					continue // within one Service the first rule wins by design
				}
				problems = append(problems, model.Problem{
					Object: "Service " + c.owner.String(),
					Text:   fmt.Sprintf("%s is already used by Service %s; this Service does not get it", describe(k), first),
				})
			}
		}
	}
	slices.SortFunc(problems, func(a, b model.Problem) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(problems)
}

func describe(k key) string {
	r := k.match(ruleset.Rule{})
	port := fmt.Sprintf("port %s/%s", r.DstPorts, r.Proto)
	if r.Dst.IsValid() {
		return r.Dst.Addr().String() + " " + port
	}
	return "node " + port
}

// print returns what stands for the rules.
func (p *Planner) print(rules []ruleset.Rule) print {
	f := print{rules: len(rules)}
	for i, seed := range p.seeds {
		var h maphash.Hash
		h.SetSeed(seed)
		for _, r := range rules {
			maphash.WriteComparable(&h, r)
		}
		f.hash[i] = h.Sum64()
	}
	return f
}
