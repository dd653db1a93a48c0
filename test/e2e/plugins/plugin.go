package plugins

import (
	"fmt"
	"slices"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// Plugin is a program that writes to the tables of a node.
type Plugin struct {
	Name     string
	Families []ipproto.Family // that it knows
	text     string           // its rules, a template over a view
	sets     func(view) []Set
	ruling   func(view) []Ruling
	sysctls  func(Node) []Sysctl
	// place says what it does, when it starts, with the hooks that stand where they stand.
	place placing
	// again says what it does with them when it looks again. Nil: the same.
	again placing
	// restart is what it does instead of again, where the order of single commands matters.
	restart func(kernel, Rules) error
	// shares: others have rules in its chains, too, so it adds what is missing and leaves the rest.
	shares bool
	// alone: it takes all tables for its own, and empties them when it starts.
	alone bool
}

// Load does what the plugin does when it starts. What stands there already, it leaves or renews, as it does.
func (p Plugin) Load(ns *lab.Namespace, b iptables.Backend, n Node) error {
	if err := p.settle(ns, n); err != nil {
		return fmt.Errorf("load %s: %w", p.Name, err)
	}
	return p.each(n, "load", func(f ipproto.Family, r Rules) error {
		k := kernel{ns, f, b, n.Lock}
		switch {
		case p.alone:
			return k.reload(r)
		case p.shares:
			return k.add(r, p.place)
		}
		return k.write(r, p.place)
	})
}

// settle brings what is not rules of iptables to the node, sets before the rules that name them.
func (p Plugin) settle(ns *lab.Namespace, n Node) error {
	for _, f := range p.families(n) {
		v := n.in(f)
		if p.sets != nil {
			for _, s := range p.sets(v) {
				if err := s.put(ns, f); err != nil {
					return err
				}
			}
		}
		if p.ruling != nil {
			for _, r := range p.ruling(v) {
				if err := r.put(ns, f); err != nil {
					return err
				}
			}
		}
	}
	if p.sysctls != nil {
		for _, s := range p.sysctls(n) {
			if err := ns.Sysctl(s.Path, s.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Reassert does what the plugin does again while it runs: it looks whether all is as it wants it, and puts right what
// is not.
func (p Plugin) Reassert(ns *lab.Namespace, b iptables.Backend, n Node) error {
	again := p.again
	if again == nil {
		again = p.place
	}
	return p.each(n, "reassert", func(f ipproto.Family, r Rules) error {
		k := kernel{ns, f, b, n.Lock}
		switch {
		case p.alone:
			return k.reload(r)
		case p.restart != nil:
			return p.restart(k, r)
		case p.shares:
			return k.add(r, again)
		}
		return k.write(r, again)
	})
}

// Lose deletes the first rule that the plugin has in FORWARD, as somebody might who does not know it.
func (p Plugin) Lose(ns *lab.Namespace, b iptables.Backend, n Node) error {
	forward := Chain{"filter", "FORWARD"}
	return p.each(n, "lose", func(f ipproto.Family, r Rules) error {
		for _, h := range r.Hooks {
			if h.In == forward {
				return kernel{ns, f, b, n.Lock}.restore("*filter\n-D FORWARD " + h.Rule + "\nCOMMIT\n")
			}
		}
		return nil
	})
}

// Unload removes all of it but the sysctls.
func (p Plugin) Unload(ns *lab.Namespace, b iptables.Backend, n Node) error {
	err := p.each(n, "unload", func(f ipproto.Family, r Rules) error { return kernel{ns, f, b, n.Lock}.remove(r) })
	if err != nil {
		return err
	}
	for _, f := range p.families(n) {
		v := n.in(f)
		if p.sets != nil {
			for _, s := range p.sets(v) {
				if err := s.destroy(ns); err != nil {
					return fmt.Errorf("unload %s: %w", p.Name, err)
				}
			}
		}
		if p.ruling != nil {
			for _, r := range p.ruling(v) {
				if err := r.remove(ns, f); err != nil {
					return fmt.Errorf("unload %s: %w", p.Name, err)
				}
			}
		}
	}
	return nil
}

// Rules are those that the plugin has on the node, in a family.
func (p Plugin) Rules(n Node, f ipproto.Family) (Rules, error) { return expand(p.text, n.in(f)) }

// families are those that both the plugin and the node know.
func (p Plugin) families(n Node) []ipproto.Family {
	return slices.DeleteFunc(slices.Clone(p.Families), func(f ipproto.Family) bool { return !n.has(f) })
}

// each does something with the rules of each family.
func (p Plugin) each(n Node, what string, do func(ipproto.Family, Rules) error) error {
	for _, f := range p.families(n) {
		r, err := p.Rules(n, f)
		if err == nil {
			err = do(f, r)
		}
		if err != nil {
			return fmt.Errorf("%s %v rules of %s: %w", what, f, p.Name, err)
		}
	}
	return nil
}
